"""Template values for the pages of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ensemble.metrics.competition_score import describe
from ensemble.worth import Worth
from submit.build_scores import Row
from submit.report import overview
from submit.report.activation_maps import ActivationExample
from submit.report.member_training import Trained
from submit.report.pairs import Pair
from submit.report.plots import Figure
from submit.report.query_results import QueryResults
from submit.report.report_input import ImageList, ReportedEvaluation, ReportInput
from submit.report.thumbnails import Thumbs

COLOURS = 8


@dataclass(frozen=True)
class EvaluationPages:
    """All data of one evaluation for its pages."""

    trial: ReportedEvaluation
    found: QueryResults
    rows: list[Row]
    worth: Worth | None
    thumbs: Thumbs
    pairs: tuple[list[Pair], list[Pair]]
    figures: list[Figure]
    looks: list[ActivationExample]
    mapped: bool

    @property
    def page(self) -> str:
        """Its query page."""
        return page_of("queries", self.trial)


def page_of(kind: str, trial: ReportedEvaluation) -> str:
    """The file name of a page of one evaluation, without a suffix for `test`."""
    return f"{kind}.html" if trial.name == "test" else f"{kind}-{trial.name}.html"


def overview_of(subject: ReportInput, f: EvaluationPages, trained: Sequence[Trained]) -> dict[str, Any]:
    """Values of one evaluation for the overview."""
    trial, found = f.trial, f.found
    lines = overview.lines(subject, trial, found, f.rows, trained) if f.rows else []
    low = min((10 * int(10 * line.spread.low) for line in lines), default=0)
    high = max((10 * -int(-10 * line.spread.high // 1) for line in lines), default=100)
    groups = [
        (
            "Persons it finds worst",
            "Mean average precision of their queries.",
            overview.by_person(trial, found),
            "person",
        ),
        ("By camera of the query", "Mean average precision.", overview.by_camera(trial, found), "cam"),
        ("By domain of the query", "Mean average precision.", overview.by_domain(trial, found), "domain"),
    ]
    return {
        "trial": trial,
        "page": f.page,
        "thumbs": f.thumbs,
        "systems": trial.names,
        "lines": lines,
        "axis": (low, high),
        "at": lambda x: round((100 * x - low) / max(1, high - low) * 100, 2),
        "rules": describe(f.rows[-1].signature) if f.rows else "",
        "sentence": _sentence(trial, found, f.rows),
        "worths": [m for m in f.worth.members if m.left_out] if f.worth else [],
        "shared": overview.shared(trial, found),
        "alone_of": {a.member: a for a in overview.only_members(trial, found)},
        "strips": overview.strips(trial, found),
        "example": lambda q: _example(trial, found, q),
        "figures": f.figures,
        "groups": [(h, w, g, k) for h, w, g, k in groups if len(g) > 1],
    }


def title_of(subject: ReportInput) -> str:
    """The title of the first page."""
    trial = subject.trials[0]
    return f"{len(trial.query):,} queries against {len(trial.gallery):,} images"


def _sentence(trial: ReportedEvaluation, found: QueryResults, rows: Sequence[Row]) -> str:
    if not rows:
        return (
            "Query and gallery have no identities, so answers cannot be scored. Shown are the lists, the agreement of "
            "the members, and the nearest pairs."
        )
    said = f"The first answer is right for {100 * rows[-1].rank1:.0f} % of the queries."
    moves = overview.count_changes(trial, found)
    if moves:
        said += f" Re-ranking raised the average precision of {moves[0]:,} queries and lowered that of {moves[1]:,}."
    return said


def _example(trial: ReportedEvaluation, found: QueryResults, q: int) -> dict[str, Any]:
    """One query of a strip: its first image, and whether that is right."""
    before, after = trial.before, trial.after
    answer = int(found.top[q, 0]) if found.top.shape[1] and found.top[q, 0] >= 0 else None
    mark = "unknown"
    if trial.labelled and answer is not None:
        mark = "right" if trial.query.pids[q] == trial.gallery.pids[answer] else "wrong"
    return {
        "name": trial.query.names[q],
        "person": f"person {trial.person(trial.query.pids[q])}" if trial.query.pids[q] >= 0 else "",
        "answer": answer,
        "mark": mark,
        "said": "" if mark == "unknown" else f", {mark}",
        "ap": float(found.ap[after, q]),
        "change": float(found.ap[after, q] - found.ap[before, q]),
        "agreement": float(found.agreement()[q]),
    }


def pair_of(trial: ReportedEvaluation, pair: Pair) -> dict[str, Any]:
    """Both images of a pair with their lists."""
    n = len(trial.query)

    def side(row: int) -> dict[str, Any]:
        of: ImageList = trial.query if row < n else trial.gallery
        at = row if row < n else row - n
        told = [f"person {trial.person(of.pids[at])}"] if of.pids[at] >= 0 else []
        told += [f"camera {trial.camera(of.camids[at])}"] if of.camids[at] >= 0 else []
        return {"side": "q" if row < n else "g", "row": at, "name": of.names[at], "who": " · ".join(told)}

    kind = "query, gallery" if pair.one < n <= pair.other else "query, query" if pair.other < n else "gallery, gallery"
    return {"similar": pair.similar, "kind": kind, "one": side(pair.one), "other": side(pair.other)}


def colour_of(i: int, t: dict[str, Any]) -> str:
    """The colour of a system: each member has its own, sums are black."""
    return f"var(--m{i % COLOURS})" if i < len(t["trial"].banks) else "var(--ink)"


def sorts(trial: ReportedEvaluation) -> list[tuple[str, str]]:
    """Orders of the query page: key in the link, and text."""
    found = []
    if trial.labelled:
        found.append(("ap", "hardest first"))
        if trial.before != trial.after:
            found += [("help", "most helped by re-ranking"), ("hurt", "most hurt by re-ranking")]
    if len(trial.banks) > 1:
        found.append(("agree", "members disagree most"))
    if trial.labelled:
        found.append(("right", "fewest right images"))
    return [*found, ("name", "order of the list")]


def onlys(trial: ReportedEvaluation) -> list[tuple[str, str]]:
    """Filters of the query page: key in the link, and text."""
    found = [("", "all"), ("wrong", "first answer wrong"), ("right", "first answer right")]
    if len(trial.banks) > 1:
        found += [("lost", "wrong, though a member had it"), ("nobody", "no member had it")]
    if trial.before != trial.after:
        found += [("helped", "helped by re-ranking"), ("hurt", "hurt by re-ranking")]
    return found
