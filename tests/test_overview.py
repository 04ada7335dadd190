"""The first page's numbers, from answers written down by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs.load import load_build_config
from submit.build_scores import Row
from submit.report import overview
from submit.report.report_input import ImageList, ReportedEvaluation

NAN = np.nan
# Two members, their sum, and that re-ranked, of six queries of three persons; nobody could score the last.
AP = np.array([
    [0.2, 0.9, 0.9, 0.3, 1.0, NAN],
    [0.4, 0.1, 0.5, 0.3, 0.0, NAN],
    [0.5, 0.8, 0.5, 0.2, 0.6, NAN],
    [0.9, 0.7, 0.5, 0.2, 0.8, NAN],
])  # fmt: skip
HIT = np.array([[0, 1, 1, 0, 1, NAN], [1, 0, 1, 0, 1, NAN], [0, 1, 1, 0, 1, NAN], [1, 1, 1, 0, 1, NAN]])
QUERY = ImageList(
    tuple("abcdef"), (None,) * 6, np.array([7, 7, 8, 8, 9, 9]), np.array([1, 2, 1, 2, 1, 2]),
    np.array([0, 1, 1, 0, 0, -1]), ("day", "night"),
)  # fmt: skip


def trial(query=QUERY, reranked=True, members=2, labelled=True):
    systems = [SimpleNamespace(name=name, settings="none", plain=True) for name in ("x", "y", "sum")]
    systems += [SimpleNamespace(name="sum, re-ranked", settings="k_reciprocal()", plain=False)] if reranked else []
    evaluation = SimpleNamespace(query_pids=query.pids.tolist() if labelled else [])
    banks = [SimpleNamespace(member=name) for name in ("x", "y")][:members]
    return ReportedEvaluation("test", evaluation, banks, query, QUERY, tuple(systems))


def answers(ap=AP, agreement=(0.5, 0.1, 0.9, 0.3, 0.2, 0.4)):
    overlap = np.ones((2, 2, 6))
    overlap[0, 1] = overlap[1, 0] = agreement
    return SimpleNamespace(ap=ap, hit=HIT, overlap=overlap, agreement=lambda: np.array(agreement))


def test_lines_hold_intervals_over_persons_by_the_competitions_weights():
    """16 persons ask three times each; the first system has 8 of them right with every query, the second nobody. Hits
    of persons are binomial of 16: 4 or fewer in 0.038 of the draws, 3 or fewer in 0.011; of 48 queries 17 in 0.03."""
    pids = np.repeat(np.arange(16), 3)
    unknown = np.full(48, -1)
    query = ImageList(("q",) * 48, (None,) * 48, pids, unknown, unknown)
    hit = np.stack([pids < 8, pids < 0]).astype(float)
    plan = load_build_config(["r50"], sets=["competition.score={rank1: 2, map: 1}"])
    rows = [Row(name, r, m, 0.1, 2 * r + m, (r,) * 3, 48, 0, "") for name, r, m in (("x", 0.5, 0.2), ("y", 0.0, 0.6))]
    found = SimpleNamespace(hit=hit, ap=np.zeros((2, 48)))
    timed = [SimpleNamespace(member="x", seconds=60.0), SimpleNamespace(member="z", seconds=5.0)]
    one, other = overview.lines(SimpleNamespace(plan=plan), trial(query), found, rows, timed)
    assert (one.spread.mean, one.spread.low, one.spread.high) == (1.0, 0.5, 1.5)
    assert (other.spread.low, other.spread.high) == (0, 0)
    assert (one.best, other.best) == ({"rank1", "minp", "total"}, {"map", "minp"})
    assert (one.seconds, other.seconds) == (60, 65), "what is no member took the time of all"
    timed[1].seconds = None
    assert [line.seconds for line in overview.lines(SimpleNamespace(plan=plan), trial(query), found, rows, timed)] == [
        60,
        None,
    ]


def test_a_querys_share_is_of_the_competitions_weights():
    subject = SimpleNamespace(plan=load_build_config(["r50"], sets=["competition.score={rank1: 3, map: 0.5}"]))
    share = overview.per_query(subject, HIT[0], AP[0])
    assert share[:3] == pytest.approx([0.1, 3.45, 3.45]) and np.isnan(share[5])


def test_what_re_ranking_moved():
    assert overview.count_changes(trial(), answers()) == (2, 1)
    ap = AP.copy()
    ap[3] = ap[2] + [1e-9, -1e-9, 0, 0, 0, 0]
    assert overview.count_changes(trial(), answers(ap)) == (0, 0), "rounding is no move"
    assert overview.count_changes(trial(reranked=False), answers()) is None
    assert overview.count_changes(trial(labelled=False), answers()) is None


def test_strips_begin_with_the_most():
    made = {s.sort: s for s in overview.strips(trial(), answers())}
    assert made["ap"].queries == (3, 2, 1, 4, 0), "the lowest first, and none without a score"
    assert made["help"].queries == (0, 4) and made["hurt"].queries == (1,)
    assert made["agree"].queries == (1, 4, 3, 5, 0, 2)
    assert [s.sort for s in overview.strips(trial(reranked=False), answers(AP[:3]))] == ["ap", "agree"]
    assert [s.sort for s in overview.strips(trial(labelled=False), answers())] == ["agree"]
    assert [s.sort for s in overview.strips(trial(members=1), answers())] == ["ap", "help", "hurt"]


def test_who_is_right_or_wrong_alone():
    """x alone is right with b, y alone with a; of two, who is wrong where the other is right is alone with that."""
    x, y = overview.only_members(trial(), answers())
    assert (x.member, x.only, x.missed) == ("x", 1, 1) and (y.member, y.only, y.missed) == ("y", 1, 1)
    three = trial()
    three = ReportedEvaluation(
        "test", three.evaluation, [*three.banks, SimpleNamespace(member="z")], QUERY, QUERY, three.systems
    )
    found = answers()
    found.hit = np.array([[1, 1, 0, 0, NAN, 1], [0, 1, 1, 0, 1, 0], [0, 1, 1, 0, 1, 0]])
    assert [(a.only, a.missed) for a in overview.only_members(three, found)] == [(2, 1), (0, 0), (0, 0)]
    assert (
        overview.only_members(trial(members=1), answers())
        == overview.only_members(trial(labelled=False), answers())
        == []
    )


def test_groups_are_means_of_their_own_queries():
    means = {"day": [0, 3, 4], "night": [1, 2], "camera 1": [0, 2, 4], "camera 2": [1, 3]}
    for groups, names in (
        (overview.by_domain(trial(), answers()), ["day", "night"]),
        (overview.by_camera(trial(), answers()), ["camera 1", "camera 2"]),
    ):
        assert [g.name for g in groups] == names
        for group in groups:
            assert group.count == len(means[group.name]) and group.ap == pytest.approx(
                AP[:, means[group.name]].mean(axis=1)
            )
    worst = overview.by_person(trial(), answers())
    assert [(g.name, g.key, g.count) for g in worst] == [
        ("person 8", "8", 2),
        ("person 7", "7", 2),
        ("person 9", "9", 1),
    ]
    told = ImageList(QUERY.names, QUERY.paths, QUERY.pids, np.array([1, 2, 1, 2, -1, -1]), QUERY.domains)
    assert [(g.name, g.count) for g in overview.by_camera(trial(told), answers())] == [
        ("camera not known", 1),
        ("camera 1", 2),
        ("camera 2", 2),
    ]


def test_members_share_what_they_share():
    (x, of_x), (y, of_y) = overview.shared(trial(), answers())
    assert (x, y) == ("x", "y") and of_x == pytest.approx([1, 0.4]) and of_y == pytest.approx([0.4, 1])
    assert overview.shared(trial(members=1), answers()) == []
