"""Make a report: collect the data, write a new folder, and replace the old one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from configs.console.progress import Progress
from configs.errors import ResultError
from configs.store.atomic_files import clear
from configs.store.store import Store
from ensemble.worth import worth_of
from submit.build_scores import score_evaluation
from submit.report.activation_maps import choose_queries, write_examples
from submit.report.history import previous
from submit.report.member_training import Trained, trained_members
from submit.report.page_data import packed, write_index, write_lists, write_names, write_piece
from submit.report.pages import EvaluationPages, Pages, write_assets
from submit.report.pairs import nearest_pairs
from submit.report.plots import cmc_curves, figures
from submit.report.projection import embed
from submit.report.query_results import collect_query_results
from submit.report.report_input import ReportedEvaluation, ReportInput, open_report_input
from submit.report.thumbnails import write_thumbs

MARK = "report.txt"  # a folder with this file is a report and may be replaced
REPORTS = Path("reports")
LOOKS = 6  # queries with activation maps


@dataclass(frozen=True)
class Written:
    """A written report: its folder and the data of its pages."""

    folder: Path
    subject: ReportInput
    trained: list[Trained]
    pages: Pages
    findings: list[EvaluationPages]


def write_report(store: Store, key: str | None, out: Path | None, progress: Progress, device: str) -> Path:
    """Write the report of a build as `make_report`, and return its folder."""
    return make_report(store, key, out, progress, device).folder


def make_report(store: Store, key: str | None, out: Path | None, progress: Progress, device: str) -> Written:
    """Write the report of a build.

    Args:
        key: of the build. None: the last build.
        out: the folder. None: reports/<name of the build>.

    Raises:
        ResultError: no such build, or the folder cannot be written or is not a report.
    """
    subject = open_report_input(store, key, device)
    out = out or REPORTS / subject.key.split("/")[1]
    part = out.with_name(f".{out.name}.part")
    try:
        if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
            raise ResultError(f"{out}: exists and is not a report; give another folder with --out")
        with _alone(part, out):
            written = _fill(part, subject, progress, device)
            (part / MARK).write_text(f"A report of {subject.key}. Open index.html.\n", encoding="utf-8")
            if out.exists():
                shutil.rmtree(out)
            os.replace(part, out)
    except OSError as e:
        raise ResultError(f"{out}: cannot be written ({e.strerror or e}); give another folder with --out") from e
    return replace(written, folder=out)


@contextmanager
def _alone(part: Path, out: Path) -> Iterator[None]:
    """An empty, locked folder. The system frees the lock when its process ends.

    Raises:
        ResultError: another process writes the same report.
    """
    part.mkdir(parents=True, exist_ok=True)
    handle = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(handle), part.stat())
        except (BlockingIOError, FileNotFoundError):  # another process is writing it, or has just renamed it
            held = False
        if not held:
            raise ResultError(f"{out}: another process writes this report; wait for it, or give another --out")
        for left in part.iterdir():  # from a killed writer
            clear(left)
        try:
            yield
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(handle)


def _fill(folder: Path, subject: ReportInput, progress: Progress, device: str) -> Written:
    trained = trained_members(subject)
    findings = []
    for trial in subject.trials:
        f, notes = _find(folder, subject, trial, trained, progress, device)
        findings.append(f)
        subject = replace(subject, notes=(*subject.notes, *notes))
    history = previous(subject, {f.trial.name: f.rows for f in findings}, device)
    pages = Pages(folder, subject, findings, ("pairs", "map"))
    write_assets(folder)
    pages.overview(trained, history)
    pages.build(trained)
    for f in findings:
        pages.queries(f)
        pages.pairs(f)
        pages.maps(f)
    return Written(folder, subject, trained, pages, findings)


def _find(
    folder: Path,
    subject: ReportInput,
    trial: ReportedEvaluation,
    trained: list[Trained],
    progress: Progress,
    device: str,
) -> tuple[EvaluationPages, list[str]]:
    """Collect everything about one evaluation, and write its pictures and data."""
    plan = subject.plan
    rows = score_evaluation(subject.store, trial.name, trial.evaluation, plan.ensemble, plan.competition, device)
    found = collect_query_results(subject, trial, progress)
    thumbs, notes = write_thumbs(folder, trial, found, progress)
    data = folder / "data"
    write_index(data, trial, found, thumbs.as_data())
    write_lists(data, trial, found)
    write_names(data, trial)
    worth = worth_of(subject.store, trial.name, trial.evaluation, plan.ensemble, plan.competition, device)
    pairs = nearest_pairs(subject, trial, device)
    curves = figures(trial, found, trained, cmc_curves(found) if trial.labelled else None)
    places = embed(subject, trial)
    if places is not None:
        write_piece(data, f"{trial.name}/map", {"places": packed(places.ravel(), "f4")})
    looks = write_examples(folder, subject, trial, choose_queries(trial, found, LOOKS), trained, progress)
    return EvaluationPages(trial, found, rows, worth, thumbs, pairs, curves, looks, places is not None), notes
