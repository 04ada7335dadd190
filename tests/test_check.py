"""submit.check on files of all kinds: status, sentences, lines, and nothing invalid passes."""

import json
import random
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.console.command import run
from configs.load import load_competition
from submit import check
from submit.formats import FORMATS
from submit.formats.base import Names
from submit.formats.naic_json import NAIC_JSON
from submit.submission import SubmissionRules, shortened
from tests.conftest import run_command


@pytest.fixture(scope="module")
def naic(tmp_path_factory):
    """A NAIC folder: 4 queries, 12 gallery images, one of them with a decomposed letter in its name."""
    root = tmp_path_factory.mktemp("naic")
    for folder in ("train/images", "test/query", "test/gallery"):
        (root / folder).mkdir(parents=True)
    for i in range(4):
        (root / "test/query" / f"q{i}.png").touch()
        (root / "train/images" / f"t{i}.png").touch()
    for i in range(11):
        (root / "test/gallery" / f"g{i:02d}.png").touch()
    (root / "test/gallery" / "e\u0301.png").touch()
    (root / "train/label.txt").write_text("".join(f"t{i}.png:{i // 2}\n" for i in range(4)))
    return root


@pytest.fixture
def good(naic):
    gallery = sorted(p.name for p in (naic / "test/gallery").iterdir())
    return {f"q{i}.png": random.Random(i).sample(gallery, 5) for i in range(4)}


def checked(naic, path, capsys, *argv):
    """Exit status and what was said."""
    capsys.readouterr()
    args = [str(path), "--competition", "naic2020", "--data", str(naic), "--set", "competition.top_k=5", *argv]
    with pytest.raises(SystemExit) as left:
        run(lambda: check.main(args))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return left.value.code, said.out + said.err


def write(path, lists):
    path.write_text(json.dumps(lists, ensure_ascii=False, indent=0).replace(",\n", ", "), encoding="utf-8")
    return path


def test_a_valid_file(naic, good, tmp_path, capsys):
    path = tmp_path / "sub.json"
    path.write_text(json.dumps(good))
    status, said = checked(naic, path, capsys)
    assert status == 0
    assert said == f"{path}: valid naic_json; naic2020 wants 4 queries, lists of 5 from 12 images\n"


def test_as_a_command(naic, good, tmp_path):
    path = tmp_path / "sub.json"
    path.write_text("{\n" + ",\n".join(f"{json.dumps(q)}: {json.dumps(v[:-1])}" for q, v in good.items()) + "\n}\n")
    done = run_command(
        "submit.check", path, "--competition", "naic2020", "--data", naic, "--set", "competition.top_k=5"
    )
    assert done.returncode == 1 and done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{path}: each of its 4 lists has length 4; wanted 5. Where 4 are right: --set competition.top_k=4",
        f"{path}: not a valid naic_json, 1 fault; naic2020 wants 4 queries, lists of 5 from 12 images",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g.pop("q2.png"), "query 'q2.png' is not answered"),
        (lambda g: g.update({"../q0.png": g["q0.png"]}), "'../q0.png' is not one of the 4 queries (names are without"),
        (lambda g: g["q1.png"].__setitem__(2, "/data/g03.png"), "'/data/g03.png' is not in the gallery (names are"),
        (lambda g: g["q1.png"].__setitem__(2, "../../etc/passwd"), "'../../etc/passwd' is not in the gallery"),
        (lambda g: g["q1.png"].__setitem__(2, g["q1.png"][0]), "occurs 2 times"),
        (lambda g: g["q1.png"].append("g00.png"), "a list of 6; wanted 5"),
        (lambda g: g["q1.png"].__setitem__(0, "\u00e9.png"), "another Unicode normal form"),
        (lambda g: g["q1.png"].__setitem__(0, float("nan")), "nan (not JSON)"),
        (lambda g: g["q1.png"].__setitem__(0, "\ud800.png"), "is not in the gallery"),
        (lambda g: g.clear(), "query 'q0.png' is not answered"),
    ],
)
def test_invalid_files(naic, good, tmp_path, capsys, change, words):
    change(good)
    path = tmp_path / "sub.json"
    path.write_text(json.dumps(good))
    status, said = checked(naic, path, capsys)
    assert status == 1 and words in said and "not a valid naic_json" in said


def test_many_faults_are_counted_and_all_are_printed_on_request(naic, tmp_path, capsys):
    path = write(tmp_path / "sub.json", {f"x{i}.png": [] for i in range(30)})
    status, said = checked(naic, path, capsys)
    assert status == 1 and "... and 27 more like this (--all prints them)" in said and len(said.splitlines()) == 9
    assert len(checked(naic, path, capsys, "--all")[1].splitlines()) == 35


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--data", "/no/such"], "/no/such: no such folder"),
        (["--format", "naic"], "unknown format 'naic'"),
        (["--competition", "naic"], "unknown competition"),
        (["--set", "competition.topk=5"], "unknown key 'topk'"),
    ],
)
def test_what_cannot_be_checked_leaves_with_two(naic, good, tmp_path, capsys, argv, words):
    status, said = checked(naic, write(tmp_path / "sub.json", good), capsys, *argv)
    assert status == 2 and said.startswith("error: ") and words in said and said.count("\n") == 1


def test_files_that_are_not_there(naic, tmp_path, capsys):
    for path in (tmp_path / "none.json", tmp_path):
        status, said = checked(naic, path, capsys)
        assert status == 2 and "cannot be opened" in said


def test_a_name_of_a_megabyte_is_not_printed_whole(naic, good, tmp_path, capsys):
    good["q1.png"][0] = "x" * (1 << 20)
    status, said = checked(naic, write(tmp_path / "sub.json", good), capsys)
    assert status == 1 and len(said) < 2000 and "'xxx" in said and "is not in the gallery" in said


def test_a_file_larger_than_any_valid_one_is_not_read(naic, tmp_path, capsys, monkeypatch):
    path = tmp_path / "sub.json"
    path.write_bytes(b"[" * (5 << 20))
    monkeypatch.setitem(FORMATS, "naic_json", replace(NAIC_JSON, read=lambda _: pytest.fail("it was read")))
    status, said = checked(naic, path, capsys)
    assert status == 1 and "5,242,880 bytes; a valid file has at most about 2," in said and "It is not read" in said


def test_the_largest_valid_file_there_could_be_is_read(naic, good, tmp_path, capsys):
    """Every name escaped letter by letter, on a line of its own behind forty spaces."""
    path = tmp_path / "sub.json"
    many = {q: [f"g{i:02d}.png" for i in range(5)] for q in good}
    path.write_text(json.dumps(many, indent=40))
    assert checked(naic, path, capsys)[0] == 0


def test_a_large_valid_file_behind_many_spaces_is_read():
    """400 lists of all of 500 images, each name on a line behind forty spaces."""
    names = Names(tuple(f"q{i:05d}.png" for i in range(400)), tuple(f"g{i:05d}.png" for i in range(500)))
    desk = SubmissionRules(load_competition("naic2020", sets=["competition.top_k=500"]), None, NAIC_JSON, names, names)
    spaced = len(json.dumps(dict.fromkeys(names.query, names.gallery), indent=40))
    plain = len(json.dumps(dict.fromkeys(names.query, names.gallery)))
    assert 10_000_000 < spaced <= desk.most_bytes < 20 * plain


def test_lists_that_the_gallery_cuts_are_noted(naic, tmp_path, capsys):
    gallery = sorted(p.name for p in (naic / "test/gallery").iterdir())
    path = write(tmp_path / "sub.json", {f"q{i}.png": gallery for i in range(4)})
    note = "lists of 12, not 30: the gallery has no more"
    status, said = checked(naic, path, capsys, "--set", "competition.top_k=30")
    assert status == 0 and note in said
    assert "the gallery has no more" not in checked(naic, path, capsys, "--set", "competition.top_k=12")[1]
    path.write_text(
        "".join(",".join([f"q{i}.png", *(f"{g},{j}" for j, g in enumerate(gallery))]) + "\n" for i in range(4))
    )
    said = checked(naic, path, capsys, "--format", "prcv_csv", "--set", "competition.top_k=30")[1]
    assert "valid prcv_csv" in said and note not in said, "its lists are of the whole gallery anyway"


def test_a_long_sentence_loses_its_middle():
    text = "begin " + "x" * 5000 + " end"
    said = shortened(text, 800)
    assert len(said) <= 800 and said.startswith("begin xxx") and " ... " in said and said.endswith("xxx end")
    assert shortened(text[:800], 800) == text[:800]


def test_rows_of_given_pairs_in_another_order_are_noted(naic, tmp_path, capsys):
    (naic / "pairs.csv").write_text("row_id,query,gallery\n7,q0.png,g00.png\nx,q1.png,g01.png\n")
    path = tmp_path / "sub.csv"
    for rows, note in ((("7,1", "x,0.5"), False), (("x,0.5", "7,1"), True)):
        path.write_text("\n".join(("row_id,similarity", *rows)) + "\n")
        status, said = checked(naic, path, capsys, "--format", "pairs_csv")
        assert status == 0 and ("note: its rows are not in the given order" in said) == note


def test_a_file_of_another_format(naic, tmp_path, capsys):
    path = tmp_path / "track2.txt"
    path.write_text("1 2 3 4 5\n" * 4)
    assert "not naic_json" in checked(naic, path, capsys)[1]
    status, said = checked(naic, write(path, {}), capsys, "--format", "aicity_txt")
    assert status == 1 and "wanted gallery numbers" in said


# --------------------------------------------------------------------------------------------------------------------
# Drawn edits: whatever they do, the verdict is that of the rules, tested here with sets
# --------------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["q0.png", "q1.png", "q9.png", "g00.png", "g10.png", "g77.png", "../g00.png", "/g00.png", "g00.png\r", "",
     "e\u0301.png", "\u00e9.png", "g00.PNG", " g00.png", "\u0000", "nan"]
)  # fmt: skip
KINDS = st.sampled_from(["drop", "add", "set", "cut", "more", "swap", "again"])
EDITS = st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 4), NAMES), max_size=4)


def edited(good, edits):
    """The lists after some edits, as pairs: a query may be there twice."""
    pairs = [[q, list(names)] for q, names in good.items()]
    for kind, row, place, name in edits:
        if not pairs:
            break
        query, names = pairs[row % len(pairs)]
        if kind == "drop":
            pairs.pop(row % len(pairs))
        elif kind == "add":
            pairs.append([name, list(names)])
        elif kind == "again":
            pairs.append([query, list(names)])
        elif kind == "cut":
            del names[place:]
        elif kind == "more":
            names.append(name)
        elif kind == "set" and names:
            names[place % len(names)] = name
        elif kind == "swap" and names:
            names[0], names[place % len(names)] = names[place % len(names)], names[0]
    return pairs


def valid(pairs, queries, gallery):
    """The rules, said with sets."""
    return sorted(q for q, _ in pairs) == sorted(queries) and all(
        len(n) == 5 == len(set(n)) and set(n) <= set(gallery) for _, n in pairs
    )


def verdicts_agree(naic, good, edits, tmp_path, capsys):
    pairs = edited(good, edits)
    path = tmp_path / "sub.json"
    path.write_text("{" + ",".join(f"{json.dumps(q)}:{json.dumps(n)}" for q, n in pairs) + "}")
    status, said = checked(naic, path, capsys)
    gallery = [p.name for p in (naic / "test/gallery").iterdir()]
    assert any(unicodedata.normalize("NFC", n) == "\u00e9.png" for n in gallery)
    assert status == (0 if valid(pairs, good, gallery) else 1), said


FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURES)
@given(edits=EDITS)
def test_the_verdict_is_the_rules(naic, good, tmp_path, capsys, edits):
    verdicts_agree(naic, good, edits, tmp_path, capsys)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=FIXTURES)
@given(edits=EDITS)
def test_the_verdict_is_the_rules_ten_thousand_times(naic, good, tmp_path, capsys, edits):
    verdicts_agree(naic, good, edits, tmp_path, capsys)
