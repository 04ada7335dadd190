"""Provenance of a build: command, versions, devices, times and fingerprints."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.console.progress import duration
from configs.console.quoting import command, runs_option
from configs.schema import Member
from configs.store.store import MANIFEST
from submit.report.member_training import Trained
from submit.report.report_input import ReportInput

UNKNOWN = "not known"
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scipy", "numba", "scikit-learn", "pillow")
CUDA = ("cupy-cuda13x", "cupy-cuda12x")


def commands(subject: ReportInput) -> str:
    """The commands that make the build and this report again."""
    runs = runs_option(subject.store.root)
    return "\n".join([subject.record.command, command("submit.make", *runs), command("submit.report", *runs)])


def facts(subject: ReportInput) -> list[tuple[str, str]]:
    """Terms and their values."""
    plan = subject.plan
    rows = [
        ("build", subject.key),
        ("finished", finished(subject.store.root / subject.key)),
        ("competition", plan.competition.name),
        ("data", subject.record.data),
    ]
    for trial in subject.trials:
        rows.append((trial.name, f"{len(trial.query):,} queries, {len(trial.gallery):,} gallery images"))
    height, width = plan.recipe.size
    rows += [
        (
            "pictures",
            f"{height} x {width} pixels, features averaged with the mirrored picture's: {_yes(plan.ensemble.flip)}",
        ),
        ("training", f"{plan.recipe.epochs} epochs, seed {plan.recipe.seed}, precision {plan.recipe.precision}"),
        *((f"{m.name}, its own", _own(m)) for m in plan.members if m.own),
        ("machine of this page", f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"),
        (
            "libraries of this page",
            ", ".join(f"{name} {found}" for name in (*LIBRARIES, *CUDA) if (found := _version(name))),
        ),
    ]
    return rows


def _own(member: Member) -> str:
    """The keys of the recipe that a member has to itself."""
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in member.own.items())


def member_rows(subject: ReportInput, trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """One row per member."""
    return [
        {
            "member": t.member,
            "time": duration(t.seconds) if t.seconds is not None else UNKNOWN,
            "epochs": len(t.epochs) or UNKNOWN,
            "device": t.device or UNKNOWN,
            "precision": t.precision or UNKNOWN,
            "finished": finished(subject.store.root / t.folder) if t.folder else UNKNOWN,
            "folder": t.folder or "not of this store",
        }
        for t in trained
    ]


def fingerprints(subject: ReportInput, trained: Sequence[Trained]) -> list[tuple[str, str]]:
    """Every folder that the scores depend on, and the SHA-256 of the weights."""
    rows = []
    for t in trained:
        rows += [(f"{t.member}, {name}", f"sha256 {digest}") for name, digest in sorted(t.fingerprints.items())]
    for trial in subject.trials:
        rows += [(f"{trial.name}, features of {member}", key) for member, key in trial.evaluation.banks.items()]
        if trial.evaluation.neighbours:
            rows.append((f"{trial.name}, neighbours", trial.evaluation.neighbours))
        rows.append((f"{trial.name}, ranking", trial.evaluation.ranking))
    return rows


def request(subject: ReportInput) -> str:
    """The full plan as readable text."""
    return json.dumps(subject.record.plan, indent=1, ensure_ascii=False)


def finished(folder: Path) -> str:
    """When a result was finished."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime((folder / MANIFEST).stat().st_mtime))
    except OSError:
        return UNKNOWN


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _yes(value: bool) -> str:
    return "yes" if value else "no"
