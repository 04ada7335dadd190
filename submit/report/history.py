"""Changes since the previous build of the same competition: settings, and scores if they are comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import ReidError
from configs.schema import BuildConfig
from configs.store.store import MANIFEST
from ensemble.results.build_record import RECORD, Record, load_record
from submit.build_scores import Row, score_evaluation
from submit.report.report_input import ReportInput
from submit.signature import differences

LONG = 90
NOT_SET = "not set"


@dataclass(frozen=True)
class Change:
    """One changed setting: old and new value."""

    key: str
    before: str
    after: str


@dataclass(frozen=True)
class Gain:
    """One number of an evaluation's last row, before and now, in 0..1."""

    trial: str
    what: str
    before: float
    after: float


@dataclass(frozen=True)
class History:
    """The previous build and the differences. notes: reasons why scores are not compared."""

    key: str
    command: str
    changes: tuple[Change, ...]
    gains: tuple[Gain, ...]
    notes: tuple[str, ...]


def previous(subject: ReportInput, scores: Mapping[str, list[Row]], device: str = "auto") -> History | None:
    """The last earlier build with the same competition, queries and gallery, or None."""
    found = _before(subject.store.root, subject.key, subject.record)
    if found is None:
        return None
    key, record = found
    changes = _changes(_flat(record.plan), _flat(subject.record.plan))
    if record.data != subject.record.data:
        changes.insert(0, Change("data", record.data, subject.record.data))
    gains: list[Gain] = []
    notes: list[str] = []
    for name, rows in scores.items():
        try:
            plan = BuildConfig.model_validate(record.plan)
            theirs = score_evaluation(
                subject.store, name, record.evaluations[name], plan.ensemble, plan.competition, device
            )
        except KeyError:
            notes.append(f"{name}: the previous build has no such evaluation")
            continue
        except (ReidError, ValueError) as e:
            notes.append(f"{name}: the previous build cannot be scored: {e}")
            continue
        if not rows or not theirs:
            continue
        unlike = differences(theirs[-1].signature, rows[-1].signature)
        if unlike:
            notes.append(f"{name}: scores are not comparable: {'; '.join(unlike)}")
            continue
        for what, field in (("total", "total"), ("rank-1", "rank1"), ("mAP", "map"), ("mINP", "minp")):
            if field == "minp" and rows[-1].cut:
                continue
            gains.append(Gain(name, what, getattr(theirs[-1], field), getattr(rows[-1], field)))
    return History(key, record.command, tuple(changes), tuple(gains), tuple(notes))


def _alike(one: Record, other: Record) -> bool:
    """Whether two builds have an evaluation with the same queries and gallery; unlabelled ones by their folder."""
    for name, a in one.evaluations.items():
        b = other.evaluations.get(name)
        same = b is not None and all(
            getattr(a, lists) == getattr(b, lists)
            for lists in ("query_pids", "query_camids", "gallery_pids", "gallery_camids")
        )
        if same and (a.query_pids or one.data == other.data):
            return True
    return False


def _before(root: Path, key: str, record: Record) -> tuple[str, Record] | None:
    """The latest comparable record of the competition that is older than this one."""
    name = key.split("/")[1].rsplit("-", 1)[0]
    try:
        now = (root / key / MANIFEST).stat().st_mtime_ns
    except OSError:
        return None
    older = []
    for folder in (root / "builds").glob(f"{name}-*"):
        seal = folder / MANIFEST
        if folder.name != key.split("/")[1] and folder.name.rsplit("-", 1)[0] == name and seal.is_file():
            older.append((seal.stat().st_mtime_ns, folder))
    for when, folder in sorted(older, reverse=True):
        if when >= now or not (folder / RECORD).is_file():
            continue
        try:
            found = load_record(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if _alike(found, record):
            return f"builds/{folder.name}", found
    return None


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """A plan as dotted keys; members by name, not by position."""
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list) and value and all(isinstance(v, dict) and "name" in v for v in value):
        inner = {v["name"]: {k: x for k, x in v.items() if k != "name"} or "yes" for v in value}.items()
    else:
        return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
    return {k: v for name, one in inner for k, v in _flat(one, f"{key}.{name}" if key else str(name)).items()}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    keys = sorted(set(before) | set(after))
    return [
        Change(k, _short(before.get(k, NOT_SET)), _short(after.get(k, NOT_SET)))
        for k in keys
        if before.get(k) != after.get(k)
    ]


def _short(text: str) -> str:
    return text if len(text) <= LONG else text[: LONG - 1] + "…"
