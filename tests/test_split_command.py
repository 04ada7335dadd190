"""ensemble.split as a user meets it: what it writes is read back, and built on."""

import json
import shutil

import pytest

from configs.console.command import run
from ensemble import split
from models.data.layouts import read_layout
from models.data.layouts.table_writer import write_table


def made(people, out, *argv):
    split.main(["--data", str(people), "--out", str(out), "--share", "0.5", *argv])
    return read_layout("table", out)


def test_what_is_written_is_read_back_without_a_copy(people, tmp_path, capsys):
    found = made(people, tmp_path / "held")
    assert {p.name for p in (tmp_path / "held").iterdir()} == {"df.csv", "pictures.json"}
    before = read_layout("drawn", people).train
    assert set(found.query.names) | set(found.gallery.names) | set(found.train.names) == set(before.names)
    path_of = dict(zip(before.names, before.paths, strict=True))
    camid_of = dict(zip(before.names, before.camids, strict=True))
    for part in (found.train, found.query, found.gallery):
        assert [path_of[name].resolve() for name in part.names] == [p.resolve() for p in part.paths]
        assert [camid_of[name] for name in part.names] == part.camids.tolist()
    assert not set(found.train.pids) & set(found.query.pids) and set(found.query.pids) <= set(found.gallery.pids)
    said = capsys.readouterr().out
    assert "the board" in said and "made" in said and said.splitlines()[-1] == str(tmp_path / "held")


def test_the_same_seed_writes_the_same_bytes(people, tmp_path):
    texts = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        made(people, tmp_path / name, "--seed", seed)
        texts.append((tmp_path / name / "df.csv").read_text())
    assert texts[0] == texts[1] != texts[2]


def test_without_cameras_none_are_told(people, tmp_path):
    found = made(people, tmp_path / "held", "--cameras", "no", "--queries", "1")
    assert set(found.gallery.camids) == {-1} and len(found.query) == len(set(found.query.pids)) == 3


def test_pictures_that_were_moved_are_asked_for(people, tmp_path):
    shutil.copytree(people, tmp_path / "people")
    made(tmp_path / "people", tmp_path / "held")
    (tmp_path / "people").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=r"is not a folder.*write the new path"):
        read_layout("table", tmp_path / "held")
    note = tmp_path / "held" / "pictures.json"
    named = json.loads(note.read_text())["folder"].replace("/people/", "/moved/")
    note.write_text(json.dumps({"folder": named}))
    assert all(p.is_file() for p in read_layout("table", tmp_path / "held").query.paths)


def test_names_with_commas_and_quotes_come_back(people, tmp_path):
    lists = read_layout("drawn", people)
    odd = tmp_path / 'a, "b"'
    odd.mkdir()
    for path in lists.query.paths:
        shutil.copy(path, odd / path.name)
    moved = lists.query.__class__(
        lists.query.names, tuple(odd / p.name for p in lists.query.paths), lists.query.pids, lists.query.camids
    )
    write_table(tmp_path / "t", lists.train, moved, lists.gallery)
    assert [p.resolve() for p in read_layout("table", tmp_path / "t").query.paths] == list(moved.paths)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--share", "1.5"], "above 0 and below 1"),
        (["--images", "1:5"], "LOW at least 2"),
        (["--images", "9:5"], "LOW:HIGH"),
        (["--ratio", "0"], "above 0"),
        (["--queries", "0"], "1 or more"),
        (["--distractors", "1"], "below 1"),
        (["--share", "0.1"], "at least 2 are needed"),
        (["--data", "nowhere", "--layout", "table"], "no such folder"),
    ],
)
def test_bad_input_is_one_sentence(people, tmp_path, capsys, argv, words):
    with pytest.raises(SystemExit) as left:
        run(lambda: made(people, tmp_path / "held", *argv))
    said = capsys.readouterr().err
    assert left.value.code == 2 and words in said and not (tmp_path / "held").exists()


@pytest.mark.parametrize(
    ("argv", "field", "value"),
    [
        (["--share", "0.01"], "queries", None),
        (["--share", "0.99"], "queries", None),
        (["--images", "2:2"], "images", (2, 2)),
        (["--ratio", "0.01"], "ratio", 0.01),
        (["--queries", "1"], "queries", 1),
        (["--distractors", "0"], "distractors", 0.0),
        (["--distractors", "0.99"], "distractors", 0.99),
    ],
)
def test_the_edges_of_what_may_be_asked_for(argv, field, value):
    args = split.parse(["--data", "x", "--out", "y", *argv])
    assert getattr(split.asked_shape(args, split.Shape()), field) == value


def test_a_table_that_is_there_stays(people, tmp_path):
    made(people, tmp_path / "held")
    with pytest.raises(ValueError, match="exists; give another folder"):
        made(people, tmp_path / "held")
