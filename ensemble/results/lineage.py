"""Trace what results were made from, from a build's record to its weights and images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from configs.store.store import Store
from ensemble.results.build_record import RECORD
from ensemble.results.manifests import MADE_OF, Manifest, ResultHistory


def used_by(past: ResultHistory, keys: Iterable[str]) -> set[str]:
    """The keys of some results and of all existing results that they were made from, directly or not.

    A record names all of them, so results behind a missing one are found too. Records of earlier versions do not: if
    one of their results is missing, every trained member counts as used.
    """
    by_key = {m.key: m for m in past.manifests}
    left = list(keys)
    used = set[str]()
    lost = False
    while left:
        key = left.pop()
        if key in by_key and key not in used:
            used.add(key)
            found = _made_of(past, by_key[key])
            lost |= key.startswith("builds/") and any(k not in by_key for k in found) and not _names_all(past, key)
            left += found
    return used | {key for key in by_key if lost and key.startswith("members/")}


def made_from(store: Store, *named: Any) -> list[str]:
    """The keys of all results behind the results that these values name."""
    return sorted(used_by(ResultHistory(store), [key for value in named for key in keys_in(value)]))


def _names_all(past: ResultHistory, key: str) -> bool:
    return bool(_record(past.store.root / key).get("made_of"))


def _made_of(past: ResultHistory, m: Manifest) -> list[str]:
    """The keys that a result's record or request names."""
    if m.key.startswith("builds/"):
        return list(keys_in(_record(past.store.root / m.key)))
    found = []
    for head, value in m.request.items():
        digests = value.values() if isinstance(value, Mapping) else [value]
        if head in MADE_OF:
            found += [e.key for d in digests if isinstance(d, str) and (e := past.by_digest(MADE_OF[head], d))]
    start = (m.request.get("member") or {}).get("weights") or {}
    sha256 = start.get("sha256")
    return found + [w.key for w in past.manifests if sha256 and w.request.get("sha256") == sha256]


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def keys_in(value: Any) -> Iterable[str]:
    """Every text in a record that could be a key of a result."""
    if isinstance(value, str) and value.count("/") == 1:
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from keys_in(inner)
