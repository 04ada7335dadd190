"""Scores of two builds: a gain where they were measured alike, the reason where they were not."""

import json
from dataclasses import asdict

import pytest

from configs.errors import ResultError
from ensemble.metrics.competition_score import data_digest
from submit.build_scores import Row, compare, load_scores

RULES = "ap=hits|k=200|junk=none|scored=5|skipped=0|weights=0.5*rank1+0.5*map|data=0a1b2c3d"


def row(total, signature=RULES, name="sum"):
    return Row(name, total / 2, 3 * total / 2, 0.0, total, (total,) * 3, 5, 0, signature)


def test_a_gain_of_the_last_rows():
    ours, theirs = (
        {"test": [row(0.1), row(0.55, RULES + "|members=b")]},
        {"test": [row(0.9), row(0.5, RULES + "|members=a")]},
    )
    assert compare(ours, theirs, "old") == ["test: sum against sum of old: total +5.0, rank-1 +2.5, mAP +7.5"]


def test_a_loss_of_the_last_rows():
    lines = compare({"test": [row(0.5)]}, {"test": [row(0.9)]}, "old")
    assert lines == ["test: sum against sum of old: total -40.0, rank-1 -20.0, mAP -60.0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("hits", "market"), "ap is market in one and hits in the other"),
        (("k=200", "k=100"), "k is 100 in one and 200 in the other"),
        (("0a1b", "ffff"), "data is ffff2c3d in one and 0a1b2c3d in the other"),
        (("scored=5", "scored=4"), "scored is 4 in one and 5 in the other"),
    ],
)
def test_scores_measured_otherwise_are_not_compared(change, said):
    lines = compare({"test": [row(0.5)]}, {"test": [row(0.5, RULES.replace(*change))]}, "old")
    assert lines == [f"test: not comparable with old: {said}"]


def test_nothing_to_compare():
    assert compare({"test": [], "holdout": [row(0.5)]}, {"test": [row(0.5)]}, "old") == [
        "test: nothing to compare with old",
        "holdout: nothing to compare with old",
    ]


def test_scores_are_read_back(tmp_path):
    rows = [row(0.1), row(0.5)]
    (tmp_path / "score.json").write_text(json.dumps({"scores": {"test": [asdict(r) for r in rows]}}))
    assert load_scores(tmp_path) == load_scores(tmp_path / "score.json") == {"test": rows}
    for text in ("", "[]", "{}", '{"scores": {"test": [{"name": "x"}]}}', '{"scores": []}'):
        (tmp_path / "score.json").write_text(text)
        with pytest.raises(ResultError, match="not the scores of a submission"):
            load_scores(tmp_path)
    with pytest.raises(ResultError, match="cannot be read"):
        load_scores(tmp_path / "none")


def test_the_data_is_told_by_its_labels():
    assert data_digest([1, 2], [0, 0]) == data_digest((1, 2), (0, 0)) != data_digest([1, 2], [0, 1])
    assert data_digest([1], [2]) != data_digest([1, 2], [])
