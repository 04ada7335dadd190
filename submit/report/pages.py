"""The pages, from templates that escape whatever they are given."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from configs.progress import duration
from submit.evaluation import Row
from submit.report import overview, provenance
from submit.report.history import History
from submit.report.inquiry import Inquiry, before_after, systems
from submit.report.pairs import Pair
from submit.report.plots import Figure
from submit.report.subject import Side, Subject, Trial
from submit.report.thumbs import Thumbs
from submit.report.training import Trained
from submit.report.worth import Worth
from submit.signature import describe

HERE = Path(__file__).parent
COLOURS = 8


@dataclass(frozen=True)
class Findings:
    """All that is known of one evaluation when its pages are written."""

    trial: Trial
    found: Inquiry
    rows: list[Row]
    worths: list[Worth]
    thumbs: Thumbs
    pairs: tuple[list[Pair], list[Pair]]
    figures: list[Figure]

    @property
    def page(self) -> str:
        """Its browser of queries."""
        return page_of("queries", self.trial)


def page_of(kind: str, trial: Trial) -> str:
    """The file of a page of one evaluation; that of `test` has the plain name."""
    return f"{kind}.html" if trial.name == "test" else f"{kind}-{trial.name}.html"


def write_assets(folder: Path) -> None:
    """The style sheet and the scripts, as they are in the source."""
    shutil.copytree(HERE / "assets", folder / "assets", dirs_exist_ok=True)


class Pages:
    """Writes pages into a folder; holds what all of them share."""

    def __init__(self, folder: Path, subject: Subject, findings: Sequence[Findings], extra: Sequence[str]) -> None:
        """extra: kinds of pages there are beside the overview, the queries and the build: pairs, map."""
        self.folder, self.subject, self.findings = folder, subject, findings
        self.environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.shared: dict[str, Any] = {
            "build_name": subject.key.split("/")[1],
            "title": _title(subject),
            "queries_page": findings[0].page,
            "written": time.strftime("%Y-%m-%d %H:%M"),
            "pages": self._navigation(extra),
            "duration": duration,
            "colour": _colour,
            "member_colour": lambda name, t: f"var(--m{[b.member for b in t['trial'].banks].index(name) % COLOURS})",
        }

    def _navigation(self, extra: Sequence[str]) -> list[tuple[str, str]]:
        words = {"queries": "Queries", "pairs": "Nearest pairs", "map": "Map"}
        links = [("index.html", "Overview")]
        for kind in ("queries", *extra):
            for f in self.findings:
                said = words[kind] if len(self.findings) == 1 else f"{words[kind]}, {f.trial.name}"
                links.append((page_of(kind, f.trial), said))
        return [*links, ("build.html", "Build")]

    def write(self, template: str, page: str, **values: Any) -> None:
        """One page."""
        text = self.environment.get_template(template).render(page=page, **self.shared, **values)
        (self.folder / page).write_text(text + "\n", encoding="utf-8")

    def overview(self, trained: Sequence[Trained], history: History | None) -> None:
        """The first page."""
        trials = [_trial_context(self.subject, f, trained) for f in self.findings]
        kicker = f"{self.subject.plan.competition.name}, {len(self.subject.trials[0].banks)} members"
        self.write(
            "overview.html", "index.html", trials=trials, history=history, notes=self.subject.notes, kicker=kicker
        )

    def queries(self, f: Findings) -> None:
        """The browser of one evaluation's queries; its script reads the data folder."""
        before, after = before_after(f.trial)
        cams, domains = f.trial.query.camids, f.trial.query.domain_names
        self.write(
            "queries.html",
            f.page,
            trial=f.trial,
            thumbs=f.thumbs,
            systems=systems(f.trial),
            reranked=before != after,
            sorts=_sorts(f.trial),
            onlys=_onlys(f.trial),
            cameras=sorted({int(c) for c in cams if c >= 0}),
            domains=list(enumerate(domains)),
        )

    def pairs(self, f: Findings) -> None:
        """The nearest pairs of one evaluation."""
        near, unlike = f.pairs
        lists = [
            (
                "Most alike",
                "Mean cosine similarity of the members; 1 is a copy. Copies between query and gallery make a score "
                "easier than the task.",
                [_pair(f.trial, p) for p in near],
            )
        ]
        if unlike:
            why = "Either the hardest confusions there are, or labels that are wrong."
            lists.insert(0, ("Alike, and labelled as different", why, [_pair(f.trial, p) for p in unlike]))
        self.write("pairs.html", page_of("pairs", f.trial), trial=f.trial, thumbs=f.thumbs, lists=lists)

    def build(self, trained: Sequence[Trained]) -> None:
        """Where it came from."""
        self.write(
            "build.html",
            "build.html",
            commands=provenance.commands(self.subject),
            facts=provenance.facts(self.subject),
            members=provenance.member_rows(self.subject, trained),
            prints=provenance.fingerprints(self.subject, trained),
            request=provenance.request(self.subject),
        )


def _trial_context(subject: Subject, f: Findings, trained: Sequence[Trained]) -> dict[str, Any]:
    """What the overview says of one evaluation."""
    trial, found = f.trial, f.found
    lines = overview.lines(subject, trial, found, f.rows, trained) if f.rows else []
    low = min((10 * int(10 * line.spread.low) for line in lines), default=0)
    high = max((10 * -int(-10 * line.spread.high // 1) for line in lines), default=100)
    groups = [
        ("Persons it finds worst", "Mean average precision of their queries.", overview.by_person(trial, found), "person"),
        ("By camera of the query", "Mean average precision.", overview.by_camera(trial, found), "cam"),
        ("By domain of the query", "Mean average precision.", overview.by_domain(trial, found), "domain"),
    ]
    return {
        "trial": trial,
        "page": f.page,
        "thumbs": f.thumbs,
        "systems": systems(trial),
        "lines": lines,
        "axis": (low, high),
        "at": lambda x: round((100 * x - low) / max(1, high - low) * 100, 2),
        "rules": describe(f.rows[-1].signature) if f.rows else "",
        "sentence": _sentence(trial, found, f.rows),
        "worths": f.worths,
        "shared": overview.shared(trial, found),
        "alone": overview.alone(trial, found),
        "strips": overview.strips(trial, found),
        "example": lambda q: _example(trial, found, q),
        "figures": f.figures,
        "groups": [(h, w, g, k) for h, w, g, k in groups if len(g) > 1],
    }


def _title(subject: Subject) -> str:
    trial = subject.trials[0]
    return f"{len(trial.query):,} queries against {len(trial.gallery):,} images"


def _sentence(trial: Trial, found: Inquiry, rows: Sequence[Row]) -> str:
    if not rows:
        return (
            "Query and gallery have no identities, so nothing here is right or wrong: the lists, how far the members "
            "agree, and the nearest pairs."
        )
    said = f"The first answer is right for {100 * rows[-1].rank1:.0f} of 100 queries."
    moves = overview.moved(trial, found)
    if moves:
        said += f" Re-ranking raised the average precision of {moves[0]:,} queries and lowered that of {moves[1]:,}."
    return said


def _example(trial: Trial, found: Inquiry, q: int) -> dict[str, Any]:
    """One query of a strip: its first answer, and whether that is right."""
    before, after = before_after(trial)
    answer = int(found.top[q, 0]) if found.top.shape[1] and found.top[q, 0] >= 0 else None
    mark = "unknown"
    if trial.labelled and answer is not None:
        mark = "right" if trial.query.pids[q] == trial.gallery.pids[answer] else "wrong"
    return {
        "name": trial.query.names[q],
        "person": f"person {trial.query.pids[q]}" if trial.query.pids[q] >= 0 else "",
        "answer": answer,
        "mark": mark,
        "said": "" if mark == "unknown" else f", {mark}",
        "ap": float(found.ap[after, q]),
        "change": float(found.ap[after, q] - found.ap[before, q]),
        "agreement": float(found.agreement()[q]),
    }


def _pair(trial: Trial, pair: Pair) -> dict[str, Any]:
    n = len(trial.query)

    def side(row: int) -> dict[str, Any]:
        of: Side = trial.query if row < n else trial.gallery
        at = row if row < n else row - n
        told = [f"person {of.pids[at]}"] if of.pids[at] >= 0 else []
        told += [f"camera {of.camids[at]}"] if of.camids[at] >= 0 else []
        return {"side": "q" if row < n else "g", "row": at, "name": of.names[at], "who": " · ".join(told)}

    kind = "query, gallery" if pair.one < n <= pair.other else "query, query" if pair.other < n else "gallery, gallery"
    return {"similar": pair.similar, "kind": kind, "one": side(pair.one), "other": side(pair.other)}


def _colour(i: int, t: dict[str, Any]) -> str:
    """A member has a colour of its own; the sum and what is re-ranked are ink."""
    return f"var(--m{i % COLOURS})" if i < len(t["trial"].banks) else "var(--ink)"


def _sorts(trial: Trial) -> list[tuple[str, str]]:
    sorts = []
    if trial.labelled:
        sorts.append(("ap", "hardest first"))
        if trial.evaluation.neighbours:
            sorts += [("help", "most helped by re-ranking"), ("hurt", "most hurt by re-ranking")]
    if len(trial.banks) > 1:
        sorts.append(("agree", "members disagree most"))
    if trial.labelled:
        sorts.append(("right", "fewest right images"))
    return [*sorts, ("name", "order of the list")]


def _onlys(trial: Trial) -> list[tuple[str, str]]:
    onlys = [("", "all"), ("wrong", "first answer wrong"), ("right", "first answer right")]
    if len(trial.banks) > 1:
        onlys += [("lost", "wrong, though a member had it"), ("nobody", "no member had it")]
    if trial.evaluation.neighbours:
        onlys += [("helped", "helped by re-ranking"), ("hurt", "hurt by re-ranking")]
    return onlys
