"""The pages, from templates that escape all values."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from configs.console.progress import duration
from submit.report import provenance
from submit.report.history import History
from submit.report.member_training import Trained
from submit.report.photo_search import Found
from submit.report.projection import method
from submit.report.report_input import ReportInput
from submit.report.template_context import (
    COLOURS,
    EvaluationPages,
    colour_of,
    onlys,
    overview_of,
    page_of,
    pair_of,
    sorts,
    title_of,
)

HERE = Path(__file__).parent


def write_assets(folder: Path) -> None:
    """Copy the style sheet and the scripts."""
    shutil.copytree(HERE / "assets", folder / "assets", dirs_exist_ok=True)


class Pages:
    """Writes pages into a folder, and holds their common data."""

    def __init__(
        self, folder: Path, subject: ReportInput, findings: Sequence[EvaluationPages], extra: Sequence[str]
    ) -> None:
        """extra: further kinds of pages that exist: pairs, map."""
        self.folder = folder
        self.subject = subject
        self.findings = findings
        self.environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.shared: dict[str, Any] = {
            "build_name": subject.key.split("/")[1],
            "title": title_of(subject),
            "queries_page": findings[0].page,
            "written": time.strftime("%Y-%m-%d %H:%M"),
            "pages": self._navigation(extra),
            "duration": duration,
            "colour": colour_of,
            "member_colour": lambda name, t: f"var(--m{[b.member for b in t['trial'].banks].index(name) % COLOURS})",
        }

    def _navigation(self, extra: Sequence[str]) -> list[tuple[str, str]]:
        words = {"queries": "Queries", "pairs": "Nearest pairs", "map": "Maps"}
        links = [("index.html", "Overview")]
        for kind in ("queries", *extra):
            for f in self.findings:
                said = words[kind] if len(self.findings) == 1 else f"{words[kind]}, {f.trial.name}"
                links.append((page_of(kind, f.trial), said))
        return [*links, ("build.html", "Build")]

    def render(self, template: str, page: str, **values: Any) -> str:
        """Render one page as text."""
        return self.environment.get_template(template).render(page=page, **self.shared, **values) + "\n"

    def write(self, template: str, page: str, **values: Any) -> None:
        """Write one page."""
        (self.folder / page).write_text(self.render(template, page, **values), encoding="utf-8")

    def overview(self, trained: Sequence[Trained], history: History | None) -> None:
        """Write the first page."""
        trials = [overview_of(self.subject, f, trained) for f in self.findings]
        kicker = f"{self.subject.plan.competition.name}, {len(self.subject.trials[0].banks)} members"
        self.write(
            "overview.html", "index.html", trials=trials, history=history, notes=self.subject.notes, kicker=kicker
        )

    def queries(self, f: EvaluationPages) -> None:
        """Write the query page of one evaluation; its script reads the data folder."""
        before, after = f.trial.before, f.trial.after
        cams, domains = f.trial.query.camids, f.trial.query.domain_names
        self.write(
            "queries.html",
            f.page,
            trial=f.trial,
            thumbs=f.thumbs,
            systems=f.trial.names,
            reranked=before != after,
            sorts=sorts(f.trial),
            onlys=onlys(f.trial),
            cameras=[(c, f.trial.camera(c)) for c in sorted({int(c) for c in cams if c >= 0})],
            domains=list(enumerate(domains)),
        )

    def pairs(self, f: EvaluationPages) -> None:
        """Write the page of the nearest pairs of one evaluation."""
        near, unlike = f.pairs
        lists = [
            (
                "Most alike",
                "Mean cosine similarity of the members; 1 is a copy. Copies between query and gallery make a score "
                "easier than the task.",
                [pair_of(f.trial, p) for p in near],
            )
        ]
        if unlike:
            why = "Hard confusions, or wrong labels."
            lists.insert(0, ("Alike, and labelled as different", why, [pair_of(f.trial, p) for p in unlike]))
        self.write("pairs.html", page_of("pairs", f.trial), trial=f.trial, thumbs=f.thumbs, lists=lists)

    def maps(self, f: EvaluationPages) -> None:
        """Write the page of the map of all images and the activation maps."""
        self.write(
            "map.html",
            page_of("map", f.trial),
            trial=f.trial,
            thumbs=f.thumbs,
            looks=f.looks,
            mapped=f.mapped,
            method=method(f.trial),
            queries=f.page,
        )

    def search(self, f: EvaluationPages, found: Found | None, complaint: str) -> str:
        """Render the page to search by photograph, which only the server shows."""
        return self.render(
            "search.html", "search.html", trial=f.trial, thumbs=f.thumbs, found=found, complaint=complaint
        )

    def build(self, trained: Sequence[Trained]) -> None:
        """Write the page of the build's provenance."""
        self.write(
            "build.html",
            "build.html",
            commands=provenance.commands(self.subject),
            facts=provenance.facts(self.subject),
            members=provenance.member_rows(self.subject, trained),
            prints=provenance.fingerprints(self.subject, trained),
            request=provenance.request(self.subject),
        )
