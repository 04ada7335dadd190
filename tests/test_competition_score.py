"""A competition's rule on streamed distances: which cameras count, what a query adds to the total, what is signed."""

import numpy as np
import pytest

from configs.schema import Competition
from ensemble.metrics.competition_score import cameras, score_stream, total_per_query
from ensemble.results.build_record import Evaluation

SAME = "same_pid_same_cam"
DIST = np.arange(5, dtype=np.float32)[None]  # the list 0, 1, 2, 3, 4
APART, TOGETHER = (
    (1 / 2 + 2 / 3) / 2,
    (1 / 1 + 2 / 3 + 3 / 4 + 4 / 5) / 4,
)  # AP without the own camera's images, and with


def evaluation(query_camids=(1,), gallery_camids=(1, 1, 2, 1, 3)):
    """One query, and a gallery of own, stranger, right, own, right."""
    return Evaluation({}, "", None, [1], [*query_camids], [1, 0, 1, 1, 1], [*gallery_camids])


def rule(**changes):
    given = {"name": "x", "layout": "table", "format": "naic_json", "top_k": 200, "ap": "market", "junk": SAME}
    return Competition(**given | changes)


@pytest.mark.parametrize(("ap", "junk"), [("market", SAME), ("market", "none"), ("hits", SAME), ("hits", "none")])
def test_the_competition_says_what_is_junk(ap, junk):
    score = score_stream([(slice(0, 1), DIST)], evaluation(), rule(ap=ap, junk=junk), {})
    assert score.map == pytest.approx(APART if junk == SAME else TOGETHER)
    assert f"|junk={junk}|" in score.signature


@pytest.mark.parametrize("unknown", [{"query_camids": [-1]}, {"gallery_camids": [-1] * 5}])
def test_a_side_without_any_camera_leaves_nothing_to_a_rule_of_them(unknown):
    given = evaluation(**unknown)
    score = score_stream([(slice(0, 1), DIST)], given, rule(), {})
    assert cameras(given.query_camids, given.gallery_camids) is None
    assert score.map == pytest.approx(TOGETHER) and "|junk=none|" in score.signature


def test_an_unknown_camera_is_shared_by_none():
    """The rule stays on for the others: of the two images of the query's camera one is not known to be of it."""
    known, unknown = evaluation(), evaluation(gallery_camids=[1, 1, 2, -1, 3])
    for given in (known, unknown):
        assert cameras(given.query_camids, given.gallery_camids) is not None
    score = score_stream([(slice(0, 1), DIST)], unknown, rule(), {})
    assert score.map not in (pytest.approx(APART), pytest.approx(TOGETHER)) and f"|junk={SAME}|" in score.signature


@pytest.mark.parametrize("weights", [(1, 1), (3, 0.25), (0, 1)])
def test_a_querys_share_of_the_total(weights):
    """Right at rank 1; right at 2; skipped: shares of r + m, m / 2 and none, and the total is their mean."""
    rules = rule(junk="none", score={"rank1": weights[0], "map": weights[1]})
    dist, three = (
        np.array([[0, 1], [0, 1], [0, 1]], np.float32),
        Evaluation({}, "", None, [1, 2, 9], [0] * 3, [1, 2], [0] * 2),
    )
    score = score_stream([(slice(0, 3), dist)], three, rules, {"members": "a"})
    shares = total_per_query(score, rules)
    assert shares[:2] == pytest.approx([weights[0] + weights[1], weights[1] / 2]) and np.isnan(shares[2])
    assert score.total == pytest.approx((weights[0] + 1.5 * weights[1]) / 2)
    assert f"|weights={weights[0]:g}*rank1+{weights[1]:g}*map|" in score.signature
    assert score.signature.endswith("|members=a")


def test_lists_are_cut_where_the_rule_has_a_cut():
    """`market` is of whole lists, however many the competition wants; the others are of its first top_k."""
    stream, own = [(slice(0, 1), DIST)], evaluation()
    assert score_stream(stream, own, rule(top_k=2), {}).map == pytest.approx(APART)
    assert score_stream(stream, own, rule(ap="relevant", top_k=2), {}).map == pytest.approx(1 / 2 / 2)
    assert score_stream(stream, own, rule(ap="relevant", top_k=3), {}).map == pytest.approx(APART)
