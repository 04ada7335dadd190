"""Why a result would be made again: what is asked for now, against the nearest result of its kind and name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.store.code_version import Digest, code_files
from configs.store.store import MANIFEST, Address, Store

MADE_OF = {"images": "images", "query": "images", "gallery": "images", "weights": "members", "banks": "features"}
FILES = "files.json"  # of a result made of files: the name of each -> a digest of its contents


@dataclass(frozen=True)
class Manifest:
    """What a kept result says of itself."""

    key: str
    request: Mapping[str, Any]
    code: Mapping[str, str]
    when: float


@dataclass(frozen=True)
class Asked:
    """What a build asks for: digest -> address of all of it, and the digests of what it has to make."""

    all: Mapping[str, Address]
    making: frozenset[str]


class Past:
    """The results of a store, by kind and name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def manifests(self) -> list[Manifest]:
        """All that can be read, newest first."""
        found = [m for path in self.store.root.glob(f"*/*/{MANIFEST}") if (m := _read(path))]
        return sorted(found, key=lambda m: -m.when)

    def nearest(self, wanted: Address) -> Manifest | None:
        """Of the same kind and name the one that differs least; of several the newest."""
        same = [m for m in self.manifests if m.key.rsplit("-", 1)[0] == f"{wanted.kind}/{wanted.name}"]
        return min(same, key=lambda m: len(list(_differences(wanted.request, m.request))), default=None)

    def by_digest(self, kind: str, digest: str) -> Manifest | None:
        """The result that another one's request names by its digest."""
        return next((m for m in self.manifests if m.key.startswith(f"{kind}/") and m.key.endswith(f"-{digest}")), None)

    def changes(self, wanted: Address, asked: Asked) -> list[str] | None:
        """What is asked otherwise than of the nearest kept result, in words; None where there is none like it.

        Nothing is said of what it is made from where that is to be made itself: that has a reason of its own.
        """
        old = self.nearest(wanted)
        return None if old is None else self._between(old, wanted, asked)

    def _between(self, old: Manifest, wanted: Address, asked: Asked) -> list[str]:
        told: list[str] = []
        for key, before, now in _differences(wanted.request, old.request):
            told += self._tell(old, wanted, asked, key, before, now)
        sized = any(t.startswith("recipe.size ") for t in told)
        return [t for t in dict.fromkeys(told) if not (sized and t.startswith("size of "))]

    def _tell(self, old: Manifest, wanted: Address, asked: Asked, key: str, before: Any, now: Any) -> list[str]:
        """One difference in words."""
        kind = MADE_OF.get(key.split(".", 1)[0])
        if key == "code":
            return _changed_files(old.code, code_files(wanted.request))
        if key == "contents":
            return _changed_images(self.store.root / old.key / FILES, now, wanted.name)
        if key == "labels":
            return ["labels: the identities of the training images changed"]
        if kind and kind != "images" and now in asked.making:
            return []
        if kind and isinstance(before, str) and isinstance(now, str):
            earlier = self.by_digest(kind, before)
            known = self._between(earlier, asked.all[now], asked) if earlier and now in asked.all else []
            return known or [f"{key}: made from other {kind}"]
        name = f"{key} of {wanted.name}" if wanted.kind == "images" else key
        return [f"{name} {_value(before)} -> {_value(now)}"]


def save_parts(folder: Path, address: Address) -> None:
    """Write down what decoded images were made from, so that a changed one can be named."""
    contents = address.request["contents"]
    if isinstance(contents, Digest):
        (folder / FILES).write_text(json.dumps(contents.parts) + "\n", encoding="ascii")


def _read(path: Path) -> Manifest | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        key = f"{path.parent.parent.name}/{path.parent.name}"
        return Manifest(key, dict(raw["request"]), dict(raw.get("code_files", {})), path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, what it was, what it is) of every leaf that differs; None for one that is not there."""
    for key in sorted({*now, *before}):
        a, b = before.get(key), now.get(key)
        rows = _rows(b), _rows(a)
        if a == b:
            continue
        if rows[0] is None or rows[1] is None or rows[0] == rows[1]:
            yield key, a, b
        else:
            yield from ((f"{key}.{inner}", was, given) for inner, was, given in _differences(rows[0], rows[1]))


def _rows(value: Any) -> Mapping[str, Any] | None:
    """A mapping as it is, a list of named rows by their names; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and all(isinstance(row, Mapping) and "name" in row for row in value):
        return {row["name"]: {k: v for k, v in row.items() if k != "name"} for row in value}
    return None


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
