"""A query that is in the gallery too finds itself: never a score without a word of it."""

import shutil

import numpy as np
import pytest

from ensemble import build
from ensemble.metrics.competition_score import describe, find_themselves
from models.data.itself import own_rows
from models.data.split import make_split
from submit import make, score
from submit.signature import differences
from tests.conftest import TINY
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery,camid"
ROWS = [f"{who},{who}{i}.jpg,test,1,1," for who in ("fox", "owl", "cat") for i in (1, 2)]
MEMBER = {f"{who}{i}.jpg": angle + i / 10 for who, angle in (("fox", 0), ("owl", 0.15), ("cat", 2)) for i in (1, 2)}


def test_the_build_the_table_and_the_score_say_so(tmp_path, capsys):
    root = write_table(tmp_path / "t", HEADER, ROWS)
    _, (row,) = built(root, tmp_path / "runs", write_member(tmp_path / "m.npz", MEMBER))
    assert row["rank1"] == 1 and "|itself=6|" in row["signature"]
    said = capsys.readouterr()
    assert "6 queries are gallery images themselves (cat1.jpg, cat2.jpg, fox1.jpg): a query is its own best" in said.err
    assert "6 queries find their own image" in said.out
    argv = [str(tmp_path / "runs/out/submission.json"), "--data", str(root), "--set", "competition.top_k=6"]
    assert score.main(argv) == 0
    assert "6 queries find their own image" in capsys.readouterr().out


def test_under_the_junk_rule_the_own_image_is_in_no_list(tmp_path):
    root = write_table(tmp_path / "t", HEADER, [f"{row}{1 + i % 2}" for i, row in enumerate(ROWS)])
    _, (row,) = built(root, tmp_path / "runs", write_member(tmp_path / "m.npz", MEMBER))
    assert "itself" not in row["signature"]


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
