"""The numbers of the first page: scores with intervals, who sees what, and where the errors gather."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ensemble.metrics.bootstrap import Interval, interval
from submit.build_scores import Row
from submit.report.member_training import Trained
from submit.report.query_results import Inquiry
from submit.report.report_input import Subject, Trial

GROUPS = 12  # lines of a table of groups
EXAMPLES = 8  # queries of a strip


@dataclass(frozen=True)
class Line:
    """A system's line: its score, the interval of its total, and what it took to train."""

    name: str
    row: Row
    spread: Interval
    seconds: float | None
    best: frozenset[str]


@dataclass(frozen=True)
class Group:
    """Queries of one kind: how many, and the mean AP of each system. key: the kind in a link."""

    name: str
    key: str
    count: int
    ap: tuple[float, ...]


@dataclass(frozen=True)
class Strip:
    """Queries worth a look. sort: the state of the browser that shows the rest."""

    title: str
    why: str
    sort: str
    queries: tuple[int, ...]


@dataclass(frozen=True)
class Alone:
    """A member among the others. only: queries it alone answers rightly; missed: those it alone does not."""

    member: str
    only: int
    missed: int


def lines(
    subject: Subject, trial: Trial, found: Inquiry, rows: Sequence[Row], trained: Sequence[Trained]
) -> list[Line]:
    """A line a system; intervals draw whole persons, since queries of one person resemble each other."""
    times = {t.member: t.seconds for t in trained}
    whole = None if None in times.values() else sum(s for s in times.values() if s is not None)
    best = {f: max(f"{getattr(r, f):.3f}" for r in rows) for f in ("rank1", "map", "minp", "total")}
    found_lines = []
    for i, row in enumerate(rows):
        spread = interval(per_query(subject, found.hit[i], found.ap[i]), groups=trial.query.pids)
        marks = frozenset(f for f, text in best.items() if f"{getattr(row, f):.3f}" == text)
        found_lines.append(Line(row.name, row, spread, times.get(row.name, whole), marks))
    return found_lines


def per_query(subject: Subject, hit: NDArray, ap: NDArray) -> NDArray[np.float64]:
    """(Q,) each query's share of the total, NaN where skipped."""
    weights = subject.plan.competition.score
    share: NDArray[np.float64] = weights.rank1 * hit.astype(np.float64) + weights.map * ap.astype(np.float64)
    return share


def strips(trial: Trial, found: Inquiry) -> list[Strip]:
    """The hardest queries, those that re-ranking moved most, and those that the members see most differently."""
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
        wanted.append(("Members disagree most", "least of their first ten in common", "agree", agreement))
    made = []
    for title, why, sort, key in wanted:
        order = [int(i) for i in np.argsort(key, kind="stable")[:EXAMPLES] if np.isfinite(key[i])]
        if sort in ("help", "hurt"):
            order = [i for i in order if key[i] < 0]
        if order:
            made.append(Strip(title, why, sort, tuple(order)))
    return made


def moved(trial: Trial, found: Inquiry) -> tuple[int, int] | None:
    """How many queries re-ranking helped and hurt in average precision; None where there is no telling."""
    before, after = trial.before, trial.after
    if not trial.labelled or before == after:
        return None
    change = np.asarray(found.ap[after]) - np.asarray(found.ap[before])
    return int((change > 1e-6).sum()), int((change < -1e-6).sum())


def by_camera(trial: Trial, found: Inquiry) -> list[Group]:
    """Mean AP by the query's camera."""
    if not trial.labelled or not trial.cameras:
        return []
    cams = np.unique(trial.query.camids)
    return _groups(
        trial.query.camids, found, [f"camera {trial.camera(c)}" if c >= 0 else "camera not known" for c in cams]
    )


def by_domain(trial: Trial, found: Inquiry) -> list[Group]:
    """Mean AP by the query's domain."""
    names = trial.query.domain_names
    if not trial.labelled or not names:
        return []
    return _groups(trial.query.domains, found, [names[d] if d >= 0 else "none" for d in np.unique(trial.query.domains)])


def by_person(trial: Trial, found: Inquiry) -> list[Group]:
    """The identities with the lowest mean AP of the last system."""
    if not trial.labelled:
        return []
    groups = _groups(trial.query.pids, found, [f"person {trial.person(p)}" for p in np.unique(trial.query.pids)])
    worst = sorted(groups, key=lambda g: (g.ap[-1], g.name))[:GROUPS]
    return [replace(g, key=g.name.removeprefix("person ")) for g in worst]


def alone(trial: Trial, found: Inquiry) -> list[Alone]:
    """Who is right where nobody else is, and wrong where everybody else is right, at rank 1."""
    if not trial.labelled or len(trial.banks) < 2:
        return []
    hit = np.asarray(found.hit[: len(trial.banks)])
    scored = np.isfinite(hit).all(axis=0)
    right = hit[:, scored] == 1
    count = right.sum(axis=0)
    m = len(right)
    return [
        Alone(b.member, int((right[i] & (count == 1)).sum()), int((~right[i] & (count == m - 1)).sum()))
        for i, b in enumerate(trial.banks)
    ]


def shared(trial: Trial, found: Inquiry) -> list[tuple[str, list[float]]]:
    """Mean share of the first ten that two members have in common: a row a member."""
    if len(trial.banks) < 2:
        return []
    means = np.asarray(found.overlap).mean(axis=2)
    return [(bank.member, [float(x) for x in means[i]]) for i, bank in enumerate(trial.banks)]


def _groups(kinds: NDArray[np.int64], found: Inquiry, names: Sequence[str]) -> list[Group]:
    made = []
    for kind, name in zip(np.unique(kinds), names, strict=True):
        rows = np.flatnonzero((kinds == kind) & np.isfinite(found.ap[-1]))
        if len(rows):
            ap = np.asarray(found.ap[:, rows])
            made.append(Group(name, str(kind), len(rows), tuple(float(x) for x in ap.mean(axis=1))))
    return made
