"""submit.diff: its counts against lists compared by hand."""

import json

import pytest

from configs.errors import SubmissionError
from submit import diff

OLD = {
    "q1.png": ["a.png", "b.png", "c.png"],
    "q2.png": ["a.png", "b.png", "c.png"],
    "q3.png": ["a.png", "b.png", "d.png"],
}
NEW = {
    "q1.png": ["a.png", "b.png", "c.png"],
    "q2.png": ["b.png", "a.png", "c.png"],
    "q4.png": ["a.png", "b.png", "c.png"],
}


@pytest.fixture
def files(tmp_path):
    for name, lists in (("old.json", OLD), ("new.json", NEW)):
        (tmp_path / name).write_text(json.dumps(lists))
    return str(tmp_path / "old.json"), str(tmp_path / "new.json")


def test_counts(files, capsys):
    diff.main([*files])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{files[0]} and {files[1]}: 2 queries in both",
        f"only in {files[0]}: 1 queries, first 'q3.png'",
        f"only in {files[1]}: 1 queries, first 'q4.png'",
        "first answer differs   1 of 2 (50.0 %)",
        "same list              1 of 2",
        "same images reordered  1 of 2",
        "images shared in 3     100.0 % of those in either",
        "  q2.png: a.png -> b.png",
    ]


def test_shared_images_are_counted_by_sets():
    old, new = {"q": list("abcdefghijkl")}, {"q": list("abcdexyzuvwl")}
    assert diff.compare(old, new, ["q"])[-2:] == [
        f"images shared in 10    {100 * 5 / 15:.1f} % of those in either",
        f"images shared in 12    {100 * 6 / 18:.1f} % of those in either",
    ]


def test_labels_say_what_a_change_was_worth(people, tmp_path, capsys):
    queries = sorted(p.name for p in (people / "query").iterdir())
    gallery = sorted(p.name for p in (people / "bounding_box_test").iterdir() if not p.name.startswith("-1"))
    right = {q: next(g for g in gallery if g[:4] == q[:4]) for q in queries}
    wrong = {q: next(g for g in gallery if g[:4] not in (q[:4], "0000")) for q in queries}

    def write(name, firsts):
        lists = {q: [firsts[q], *(g for g in gallery if g != firsts[q])][:5] for q in queries}
        (tmp_path / name).write_text(json.dumps(lists))
        return str(tmp_path / name)

    old = write("old.json", right | {q: wrong[q] for q in queries[:5]})
    new = write("new.json", right | {q: wrong[q] for q in queries[4:7]})
    diff.main([old, new, "--data", str(people), "--layout", "drawn", "--set", "competition.top_k=5", "--show", "1"])
    out = capsys.readouterr().out
    assert "first answer differs   6 of 18 (33.3 %)" in out
    assert "of these               4 became right, 2 became wrong, 0 stay right, 0 stay wrong" in out
    assert "... and 5 more (--show N prints N)" in out


def test_files_that_cannot_be_compared(files, tmp_path):
    (tmp_path / "bad.json").write_text('{"q1.png": ["a.png"], "q1.png": []}')
    with pytest.raises(SubmissionError, match="occurs twice"):
        diff.main([files[0], str(tmp_path / "bad.json")])
    (tmp_path / "bad.json").write_text("[")
    with pytest.raises(SubmissionError, match="not naic_json"):
        diff.main([files[0], str(tmp_path / "bad.json")])
    with pytest.raises(SubmissionError, match="no format of lists reads it; name one with --format"):
        diff.main([str(tmp_path / "bad.json"), files[0]])
    with pytest.raises(SubmissionError, match="cannot be opened"):
        diff.main([files[0], str(tmp_path / "none.json")])
