"""The numbers of the first page: scores with intervals, agreement of members, and groups with many errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics.bootstrap import Interval, interval
from submit.build_scores import Row
from submit.report.member_training import Trained
from submit.report.query_results import QueryResults
from submit.report.report_input import ReportedEvaluation, ReportInput

GROUPS = 12  # rows of a table of groups
EXAMPLES = 8  # queries in a strip


@dataclass(frozen=True)
class Line:
    """One system: its score, the interval of its total, and its training time."""

    name: str
    row: Row
    spread: Interval
    seconds: float | None
    best: frozenset[str]


@dataclass(frozen=True)
class Group:
    """A group of queries: their number, and the mean AP of each system. key: the group in a link."""

    name: str
    key: str
    count: int
    ap: tuple[float, ...]


@dataclass(frozen=True)
class Strip:
    """Selected queries. sort: the order in which the query page shows all of them."""

    title: str
    why: str
    sort: str
    queries: tuple[int, ...]


@dataclass(frozen=True)
class OnlyMember:
    """A member among the others. only: queries that it alone answers right; missed: those that it alone misses."""

    member: str
    only: int
    missed: int


def lines(
    subject: ReportInput,
    trial: ReportedEvaluation,
    found: QueryResults,
    rows: Sequence[Row],
    trained: Sequence[Trained],
) -> list[Line]:
    """One line per system. Intervals draw whole persons, since queries of one person are correlated."""
    times = {t.member: t.seconds for t in trained}
    whole = None if None in times.values() else sum(s for s in times.values() if s is not None)
    best = {f: max(f"{getattr(r, f):.3f}" for r in rows) for f in ("rank1", "map", "minp", "total")}
    found_lines = []
    for i, row in enumerate(rows):
        spread = interval(per_query(subject, found.hit[i], found.ap[i]), groups=trial.query.pids)
        marks = frozenset(f for f, text in best.items() if f"{getattr(row, f):.3f}" == text)
        found_lines.append(Line(row.name, row, spread, times.get(row.name, whole), marks))
    return found_lines


def per_query(subject: ReportInput, hit: NDArray, ap: NDArray) -> NDArray[np.float64]:
    """(Q,) total of each query, NaN for skipped queries."""
    weights = subject.plan.competition.score
    share: NDArray[np.float64] = weights.rank1 * hit.astype(np.float64) + weights.map * ap.astype(np.float64)
    return share


def strips(trial: ReportedEvaluation, found: QueryResults) -> list[Strip]:
    """The hardest queries, those that re-ranking changed most, and those with most disagreement."""
    before, after = trial.before, trial.after
    agreement = found.agreement()
    wanted: list[tuple[str, str, str, NDArray]] = []
    if trial.labelled:
        ap, change = np.asarray(found.ap[after]), np.asarray(found.ap[after] - found.ap[before])
        wanted.append(("Hardest queries", "lowest average precision", "ap", ap))
        if before != after:
            wanted.append(("Helped most by re-ranking", "average precision rose", "help", -change))
            wanted.append(("Hurt most by re-ranking", "average precision fell", "hurt", change))
    if len(trial.banks) > 1:
        wanted.append(("Members disagree most", "smallest overlap of their first ten images", "agree", agreement))
    made = []
    for title, why, sort, key in wanted:
        order = [int(i) for i in np.argsort(key, kind="stable")[:EXAMPLES] if np.isfinite(key[i])]
        if sort in ("help", "hurt"):
            order = [i for i in order if key[i] < 0]
        if order:
            made.append(Strip(title, why, sort, tuple(order)))
    return made


def count_changes(trial: ReportedEvaluation, found: QueryResults) -> tuple[int, int] | None:
    """How many queries have a higher and a lower AP after re-ranking; None if unknown."""
    before, after = trial.before, trial.after
    if not trial.labelled or before == after:
        return None
    change = np.asarray(found.ap[after]) - np.asarray(found.ap[before])
    return int((change > 1e-6).sum()), int((change < -1e-6).sum())


def by_camera(trial: ReportedEvaluation, found: QueryResults) -> list[Group]:
    """Mean AP by the query's camera."""
    if not trial.labelled or not trial.cameras:
        return []
    cams = np.unique(trial.query.camids)
    return _groups(
        trial.query.camids, found, [f"camera {trial.camera(c)}" if c >= 0 else "camera not known" for c in cams]
    )


def by_domain(trial: ReportedEvaluation, found: QueryResults) -> list[Group]:
    """Mean AP by the query's domain."""
    names = trial.query.domain_names
    if not trial.labelled or not names:
        return []
    return _groups(trial.query.domains, found, [names[d] if d >= 0 else "none" for d in np.unique(trial.query.domains)])


def by_person(trial: ReportedEvaluation, found: QueryResults) -> list[Group]:
    """The identities with the lowest mean AP of the last system."""
    if not trial.labelled:
        return []
    groups = _groups(trial.query.pids, found, [f"person {trial.person(p)}" for p in np.unique(trial.query.pids)])
    worst = sorted(groups, key=lambda g: (g.ap[-1], g.name))[:GROUPS]
    return [replace(g, key=g.name.removeprefix("person ")) for g in worst]


def only_members(trial: ReportedEvaluation, found: QueryResults) -> list[OnlyMember]:
    """Per member: queries that it alone has right at rank 1, and those that it alone has wrong."""
    if not trial.labelled or len(trial.banks) < 2:
        return []
    hit = np.asarray(found.hit[: len(trial.banks)])
    scored = np.isfinite(hit).all(axis=0)
    right = hit[:, scored] == 1
    count = right.sum(axis=0)
    m = len(right)
    return [
        OnlyMember(b.member, int((right[i] & (count == 1)).sum()), int((~right[i] & (count == m - 1)).sum()))
        for i, b in enumerate(trial.banks)
    ]


def shared(trial: ReportedEvaluation, found: QueryResults) -> list[tuple[str, list[float]]]:
    """Mean overlap of two members' first ten images, one row per member."""
    if len(trial.banks) < 2:
        return []
    means = np.asarray(found.overlap).mean(axis=2)
    return [(bank.member, [float(x) for x in means[i]]) for i, bank in enumerate(trial.banks)]


def _groups(kinds: NDArray[np.int64], found: QueryResults, names: Sequence[str]) -> list[Group]:
    made = []
    for kind, name in zip(np.unique(kinds), names, strict=True):
        rows = np.flatnonzero((kinds == kind) & np.isfinite(found.ap[-1]))
        if len(rows):
            ap = np.asarray(found.ap[:, rows])
            made.append(Group(name, str(kind), len(rows), tuple(float(x) for x in ap.mean(axis=1))))
    return made
