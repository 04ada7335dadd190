"""Explain why results are rebuilt: compare each request with the most similar cached result of its kind and name.

A line of output: `r50, rx50: trained again: recipe.epochs 12 -> 14`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.store.code_version import Digest, code_files
from configs.store.store import RESUME, Address, Store
from ensemble.planning.planned_results import PlannedResult
from ensemble.results.manifests import FILES, MADE_OF, Manifest, ResultHistory, differences

AGAIN = {
    "images": "read again",
    "frozen": "extracted again",
    "members": "trained again",
    "features": "extracted again",
    "whitened": "whitened again",
    "expanded": "averaged again",
    "neighbours": "searched again",
    "calibrations": "calibrated again",
    "rankings": "ranked again",
}
OF_EACH_MEMBER = "banks", "weights", "shares"  # of a request: member -> value


@dataclass(frozen=True)
class PlannedDigests:
    """The results of a build. all: digest -> address. making: digests of results that are not cached."""

    all: Mapping[str, Address]
    making: frozenset[str]


def reasons(store: Store, items: Sequence[PlannedResult]) -> list[str]:
    """One line per reason, with all rows that share it.

    Consequences of a listed reason are not listed. An empty store gives no lines.
    """
    past = ResultHistory(store)
    making = frozenset(i.address.digest for i in items if not i.kept)
    asked = PlannedDigests({i.address.digest: i.address for i in items}, making)
    told: dict[str, list[str]] = {}
    for item in items:
        if item.kept or item.kind == "images":
            continue
        if (epoch := interrupted_after(store, item)) is not None:
            told.setdefault(f"training goes on after epoch {epoch}", []).append(item.row)
            continue
        changed = changes(past, item.address, asked)
        if changed:
            told.setdefault(f"{AGAIN[item.kind]}: {'; '.join(changed)}", []).append(item.row)
        elif changed is None and item.kind == "members" and past.manifests:
            told.setdefault("trained for the first time", []).append(item.row)
    return [f"{', '.join(dict.fromkeys(rows))}: {why}" for why, rows in told.items()]


def interrupted_after(store: Store, item: PlannedResult) -> int | None:
    """The epoch of an interrupted training's checkpoint; None if there is no checkpoint."""
    path = store.path(item.address)
    try:
        state = json.loads((path.with_name(f".{path.name}.part") / RESUME / "state.json").read_text(encoding="utf-8"))
        return int(state["point"]["epoch"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def changes(past: ResultHistory, wanted: Address, asked: PlannedDigests) -> list[str] | None:
    """The differences to the most similar cached result, in words; None if there is no similar result.

    Inputs that are rebuilt themselves are skipped: they have a line of their own.
    """
    old = past.nearest(wanted)
    return None if old is None else _between(past, old, wanted, asked)


def _between(past: ResultHistory, old: Manifest, wanted: Address, asked: PlannedDigests) -> list[str]:
    told: list[str] = []
    for key, before, now in differences(wanted.request, old.request):
        told += _tell(past, old, wanted, asked, key, before, now)
    sized = any(t.startswith("recipe.size ") for t in told)
    return [t for t in dict.fromkeys(told) if not (sized and t.startswith("size of "))]


def _tell(
    past: ResultHistory, old: Manifest, wanted: Address, asked: PlannedDigests, key: str, before: Any, now: Any
) -> list[str]:
    """One difference in words."""
    first, _, member = key.partition(".")
    kind = MADE_OF.get(first)
    if first in OF_EACH_MEMBER and member:
        there = [member in request.get("banks", {}) for request in (old.request, wanted.request)]
        if there[0] != there[1]:
            return [f"new member {member}" if there[1] else f"without member {member}"]
    if key == "code":
        return _changed_files(old.code, code_files(wanted.request))
    if key == "contents":
        return _changed_images(past.store.root / old.key / FILES, now, wanted.name)
    if key == "labels":
        return ["labels: the identities of the training images changed"]
    if kind and kind != "images" and now in asked.making:
        return []
    if kind and isinstance(before, str) and isinstance(now, str):
        earlier = past.by_digest(kind, before)
        known = _between(past, earlier, asked.all[now], asked) if earlier and now in asked.all else []
        return known or [f"{key}: made from other {kind}"]
    name = f"{key} of {wanted.name}" if wanted.kind == "images" else key
    return [f"{name} {_value(before)} -> {_value(now)}"]


def _value(value: Any) -> str:
    """12, cosine, [64, 32], the first 8 digits of a SHA-256, none."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:8] if len(text) == 64 else text


def _changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if not before:
        return ["its code changed (which file was not written down then)"]
    kinds = {
        "code of {} changed": [f for f in sorted(now) if f in before and now[f] != before[f]],
        "code: {} new": [f for f in sorted(now) if f not in before],
        "code: {} gone": [f for f in sorted(before) if f not in now],
    }
    return [words.format(_some(files)) for words, files in kinds.items() if files]


def _some(names: Sequence[str], count: int = 4) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _changed_images(path: Path, now: Any, name: str) -> list[str]:
    """`3 images of train changed, 1 is new: 0007.jpg ...`."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or not isinstance(now, Digest):
        return [f"the images of {name} changed"]
    kinds = {
        "changed": [f for f in now.parts if f in before and now.parts[f] != before[f]],
        "new": [f for f in now.parts if f not in before],
        "gone": [f for f in before if f not in now.parts],
    }
    counts = [f"{len(files):,} {what}" for what, files in kinds.items() if files]
    names = [f for files in kinds.values() for f in files]
    more = " ..." if len(names) > 3 else ""
    return [f"images of {name}: {', '.join(counts)} ({', '.join(names[:3])}{more})"]
