"""A query that is in the gallery too finds itself: never a score without a word of it."""

import json
import shutil

import numpy as np
import pytest

import submit
from configs.errors import ConfigError
from configs.load import load_competition
from ensemble import build, doctor
from ensemble.metrics.competition_score import describe, find_themselves
from models.data.split import make_split, own_rows
from submit import check, make, score
from submit.formats import FORMATS
from submit.signature import differences
from tests.conftest import TINY
from tests.tables import built, write_member, write_table


def sets_of(changes):
    return [word for change in changes for word in ("--set", change)]


HEADER = "label,path,split,is_query,is_gallery,camid"
ROWS = [f"{who},{who}{i}.jpg,test,1,1," for who in ("fox", "owl", "cat") for i in (1, 2)]
MEMBER = {f"{who}{i}.jpg": angle + i / 10 for who, angle in (("fox", 0), ("owl", 0.15), ("cat", 2)) for i in (1, 2)}


RULE = "competition.junk=[itself, same_pid_same_cam]"


@pytest.fixture
def pictures(tmp_path):
    return write_table(tmp_path / "t", HEADER, ROWS), write_member(tmp_path / "m.npz", MEMBER)


def test_without_the_rule_it_is_refused_with_what_to_write(pictures, tmp_path, capsys):
    root, member = pictures
    told = "6 queries are gallery images themselves (cat1.jpg, cat2.jpg, fox1.jpg, ...), and competition.junk is "
    with pytest.raises(ConfigError) as refused:
        built(root, tmp_path / "runs", member)
    assert told + "same_pid_same_cam: each would find itself first" in str(refused.value)
    assert f"--set '{RULE}'" in str(refused.value)
    with pytest.raises(ConfigError, match="each would find itself first"):
        score.main([str(root / "none.json"), "--data", str(root)])
    doctor.main(["--data", str(root)])
    assert "each would find itself first" in capsys.readouterr().out


def test_with_it_no_image_finds_itself(pictures, tmp_path, capsys):
    """fox1 0.1, fox2 0.2, owl1 0.25, owl2 0.35, cat1 2.1, cat2 2.2: by hand, who is nearest but oneself."""
    root, member = pictures
    lists, (row,) = built(root, tmp_path / "runs", member, RULE)

    def others(name):
        return sorted({*MEMBER} - {name}, key=lambda other: (abs(MEMBER[other] - MEMBER[name]), other))

    order = {name: others(name) for name in MEMBER}
    assert lists == order
    hits = [[o[:3] == name[:3] for o in others].index(True) + 1 for name, others in order.items()]
    assert row["rank1"] == pytest.approx(np.mean([h == 1 for h in hits])) and 1 not in (row["rank1"], row["map"])
    assert row["map"] == pytest.approx(np.mean([1 / h for h in hits]))
    assert "|junk=itself|" in row["signature"]
    said = capsys.readouterr()
    assert "each image left out of its own list" in said.out and "find their own image" not in said.out
    argv = [str(tmp_path / "runs/out/submission.json"), "--data", str(root), "--set", RULE]
    assert score.main(argv) == 0
    assert f"{100 * row['rank1']:.1f}" in capsys.readouterr().out


def test_a_file_whose_lists_hold_the_query_is_not_valid(pictures, tmp_path, capsys):
    root, member = pictures
    lists, _ = built(root, tmp_path / "runs", member, RULE)
    path, argv = tmp_path / "x.json", ["--data", str(root), "--set", RULE]
    lists["fox1.jpg"][0] = "fox1.jpg"
    path.write_text(json.dumps(lists), encoding="utf-8")
    assert check.main([str(path), *argv]) == 1
    assert "'fox1.jpg' is the query itself or of its sequence; leave it out" in capsys.readouterr().out


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_leaves_it_out_and_is_valid(pictures, tmp_path, name, capsys):
    root, member = pictures
    rows = [f"{i},{q},{g}" for i, (q, g) in enumerate((q, g) for q in MEMBER for g in MEMBER)]
    (root / "pairs.csv").write_text("\n".join(["row_id,query,gallery", *rows]) + "\n", encoding="utf-8")
    runs = tmp_path / "runs"
    changes = [f"competition.format={name}", RULE, "competition.top_k=6", "ensemble.rerank=none"]
    build.main(["--members", f"m={member}", "--data", str(root), "--out", str(runs), *sets_of(changes)])
    handed = submit.make(runs=runs, out=runs / "out")
    assert check.main([str(handed.file), "--data", str(root), *sets_of(changes[:3])]) == 0, capsys.readouterr().out
    if FORMATS[name].scored:
        sheet = FORMATS[name].read(handed.file.read_bytes())
        assert {len(row) for row in sheet.answers.lists} == {5}
    else:
        similar = [line.split(",")[1] for line in handed.file.read_text().splitlines()[1:]]
        assert [similar[7 * i] for i in range(6)] == ["1"] * 6 and similar[1] != "1"


@pytest.mark.parametrize(("junk", "left"), [("same_sequence", 4), ("itself+same_sequence", 4), ("itself", 5)])
def test_sequences_are_left_out_too(tmp_path, junk, left):
    """fox1 and owl1 are of one sequence, fox2 and owl2 of another; that of the cats is unknown."""
    told = {"1": "dawn", "2": "dusk"}
    rows = [f"{row}{told[row.split('.')[0][-1]] if row[0] != 'c' else ''}" for row in ROWS]
    root = write_table(tmp_path / "t", HEADER.replace("camid", "sequence"), rows)
    member, rule = write_member(tmp_path / "m.npz", MEMBER), f"competition.junk={junk}"
    if "itself" not in junk:
        with pytest.raises(ConfigError, match=r"\[itself, same_sequence\]"):
            built(root, tmp_path / "runs", member, rule)
        return
    lists, (row,) = built(root, tmp_path / "runs", member, rule)
    assert {len(lists[name]) for name in ("fox1.jpg", "owl2.jpg")} == {left} and len(lists["cat1.jpg"]) == 5
    assert ("owl1.jpg" in lists["fox1.jpg"]) == (junk == "itself")
    assert f"|junk={junk}|" in row["signature"]


def test_sequences_that_nobody_tells_are_asked_for(pictures, tmp_path):
    with pytest.raises(ConfigError, match="a column 'sequence'"):
        built(pictures[0], tmp_path / "runs", pictures[1], "competition.junk=[itself, same_sequence]")


@pytest.mark.parametrize("junk", ["[itself, none]", "[itself, itself]", "everything", "[]"])
def test_rules_that_are_none(junk):
    with pytest.raises(ConfigError, match="wanted none, or some of itself, same_pid_same_cam, same_sequence"):
        load_competition("own", sets=[f"competition.junk={junk}"])


def test_rules_have_one_order():
    junk = [load_competition("own", sets=[f"competition.junk={way}"]).junk for way in
            ("same_sequence+itself", "[same_sequence, itself]", "[itself,same_sequence]")]  # fmt: skip
    assert junk == ["itself+same_sequence"] * 3


@pytest.mark.parametrize(
    ("rows", "cams", "want"),
    [
        ([], None, {}),
        ([-1, -1], None, {}),
        ([1, 0], None, {"itself": 2}),
        ([1, 0], ([1, 2], [2, 9]), {"itself": 1}),
        ([1, 0], ([-1, 2], [2, -1]), {"itself": 1}),
    ],
)
def test_how_many(rows, cams, want):
    assert find_themselves(rows, cams and (np.array(cams[0]), np.array(cams[1]))) == want


def test_by_path_or_by_contents(tmp_path):
    for folder in ("query", "gallery"):
        (tmp_path / folder).mkdir()

    def split(folder, *names):
        return make_split([(name, tmp_path / folder / name, 1, 1) for name in names])

    query, gallery = split("query", "a.jpg", "b.jpg"), split("gallery", "a.jpg", "c.jpg")
    assert own_rows(query, gallery).tolist() == [-1, -1], "a name alone is no file"
    digests = {"a.jpg": "1", "b.jpg": "2"}, {"a.jpg": "3", "c.jpg": "2"}
    assert own_rows(query, gallery, digests).tolist() == [-1, 1]
    assert own_rows(query, split("query", "b.jpg")).tolist() == [-1, 0]


def test_scores_with_and_without_do_not_compare():
    says = "ap=hits|k=200|junk=none|scored=6|skipped=0|weights=1*rank1+0*map"
    assert "6 queries find their own image" in describe(f"{says}|itself=6")
    assert differences(says, f"{says}|itself=6") == ["itself is missing in one and 6 in the other"]


def test_copies_are_found_where_pictures_are_read(tiny_build, tmp_path, capsys):
    """A copy of a query under another name in the gallery, in a build that trains."""
    people, runs = tmp_path / "people", tmp_path / "runs"
    shutil.copytree(tiny_build.people, people)
    shutil.copytree(tiny_build.runs, runs)
    first = min((people / "query").iterdir())
    copy = people / "bounding_box_test" / first.name.replace(f"_c{first.name.split('_c')[1][0]}", "_c9", 1)
    shutil.copy(first, copy)
    build.main(["--data", str(people), "--out", str(runs), "--members", "a", *TINY])
    make.main(["--runs", str(runs), "--out", str(tmp_path / "out")])
    assert "1 query finds its own image" in capsys.readouterr().out
