"""One report from beginning to end: asked, drawn, written into a new folder, and put in the place of the old."""

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
from submit.report.activation_maps import choose, write_looks
from submit.report.history import previous
from submit.report.member_training import Trained, trained_members
from submit.report.page_data import packed, write_index, write_lists, write_names, write_piece
from submit.report.pages import Findings, Pages, write_assets
from submit.report.pairs import nearest_pairs
from submit.report.plots import cmc_curves, figures
from submit.report.projection import embed
from submit.report.query_results import inquire
from submit.report.report_input import Subject, Trial, open_subject
from submit.report.thumbnails import write_thumbs

MARK = "report.txt"  # a folder that holds it is a report, and may be replaced by one
REPORTS = Path("reports")
LOOKS = 6  # queries in which it is shown where members look


@dataclass(frozen=True)
class Written:
    """A report that was written: its folder, and what its pages were made from."""

    folder: Path
    subject: Subject
    trained: list[Trained]
    pages: Pages
    findings: list[Findings]


def write_report(store: Store, key: str | None, out: Path | None, progress: Progress, device: str) -> Path:
    """Write the report of a build: the folder. As `make_report`."""
    return make_report(store, key, out, progress, device).folder


def make_report(store: Store, key: str | None, out: Path | None, progress: Progress, device: str) -> Written:
    """Write the report of a build.

    Args:
        key: the build; None is the last one.
        out: the folder; None is reports/<name of the build>.

    Raises:
        ResultError: no such build, or the folder cannot be written or holds something else.
    """
    subject = open_subject(store, key, device)
    out = out or REPORTS / subject.key.split("/")[1]
    part = out.with_name(f".{out.name}.part")
    try:
        if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
            raise ResultError(f"{out}: is there and is not a report; give another folder with --out")
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
    """An empty folder that no other writer has; the system lets go of it with its holder.

    Raises:
        ResultError: another process writes the same report.
    """
    part.mkdir(parents=True, exist_ok=True)
    handle = os.open(part, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(handle), part.stat())
        except (BlockingIOError, FileNotFoundError):  # its writer is at work, or has just renamed it
            held = False
        if not held:
            raise ResultError(f"{out}: another process writes this report; wait for it, or give another with --out")
        for left in part.iterdir():  # of a writer that was killed
            clear(left)
        try:
            yield
        finally:
            shutil.rmtree(part, ignore_errors=True)
    finally:
        os.close(handle)


def _fill(folder: Path, subject: Subject, progress: Progress, device: str) -> Written:
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
    folder: Path, subject: Subject, trial: Trial, trained: list[Trained], progress: Progress, device: str
) -> tuple[Findings, list[str]]:
    """Everything about one evaluation, its pictures and data written."""
    plan = subject.plan
    rows = score_evaluation(subject.store, trial.name, trial.evaluation, plan.ensemble, plan.competition, device)
    found = inquire(subject, trial, progress)
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
    looks = write_looks(folder, subject, trial, choose(trial, found, LOOKS), trained, progress)
    return Findings(trial, found, rows, worth, thumbs, pairs, curves, looks, places is not None), notes
