"""Read the metadata of cached results: manifests, and the epochs of trained members."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.errors import ResultError
from configs.store.code_version import Digest
from configs.store.store import MANIFEST, Address, Store

# Keys of a request that name an input by its digest -> the kind of the input.
MADE_OF = {"images": "images", "query": "images", "gallery": "images", "weights": "members", "banks": "features"}
BANKS = ("features", "whitened", "expanded")  # kinds of results that are feature banks
FILES = "files.json"  # in a result made from files: file name -> digest of its contents
EPOCHS = "epochs.jsonl"
EPOCH_KEYS = {"epoch", "lr", "loss", "terms", "apart", "images", "seconds"}


@dataclass(frozen=True)
class Manifest:
    """The manifest of a cached result."""

    key: str
    request: Mapping[str, Any]
    code: Mapping[str, str]
    when: float


class ResultHistory:
    """The cached results of a store, by kind and name."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @cached_property
    def manifests(self) -> list[Manifest]:
        """All readable manifests, newest first."""
        found = [m for path in self.store.root.glob(f"*/*/{MANIFEST}") if (m := _read(path))]
        return sorted(found, key=lambda m: -m.when)

    def nearest(self, wanted: Address) -> Manifest | None:
        """The most similar result of the same kind and name. Of several, the newest."""
        same = [m for m in self.manifests if m.key.rsplit("-", 1)[0] == f"{wanted.kind}/{wanted.name}"]
        return min(same, key=lambda m: len(list(differences(wanted.request, m.request))), default=None)

    def by_digest(self, kind: str, digest: str) -> Manifest | None:
        """The result with this digest, as another request names it. A bank may be whitened or averaged."""
        kinds = BANKS if kind in BANKS else (kind,)
        found = (m for m in self.manifests if m.key.split("/")[0] in kinds and m.key.endswith(f"-{digest}"))
        return next(found, None)


def save_parts(folder: Path, address: Address) -> None:
    """Save the digests of the image files, so that a later build can name changed images."""
    contents = address.request["contents"]
    if isinstance(contents, Digest):
        (folder / FILES).write_text(json.dumps(contents.parts) + "\n", encoding="ascii")


def epochs_of(store: Store, key: str) -> list[dict[str, Any]]:
    """The lines of a member's `epochs.jsonl`; empty if they cannot be read."""
    try:
        lines = (store.root / key / EPOCHS).read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []
    return [e for e in found if isinstance(e, dict) and set(e) >= EPOCH_KEYS]


def extracted(store: Store, bank: str) -> str:
    """The key of the features that a bank was whitened or averaged from; its own key if it was neither.

    Args:
        bank: its key, such as `whitened/r50-test-0123456789ab`.

    Raises:
        ResultError: the features are not in the store.
    """
    past = ResultHistory(store)
    requests = {m.key: m.request for m in past.manifests}
    while not bank.startswith("features/"):
        request = requests[bank]
        source = past.by_digest("features", request["banks"]["test" if "whiten" in request else request["of"]])
        if source is None:
            raise ResultError(f"{store.root / bank}: the features that it was made from are gone; run the build again")
        bank = source.key
    return bank


def training_seconds(store: Store, bank: str) -> float | None:
    """Training time of the member that a bank's features come from; None if it is unknown.

    Args:
        bank: the key of the features, such as `features/r50-test-0123456789ab`.
    """
    past = ResultHistory(store)
    features = _read(store.root / bank / MANIFEST)
    member = past.by_digest("members", str(features.request.get("weights"))) if features else None
    epochs = epochs_of(store, member.key) if member else []
    return float(sum(epoch["seconds"] for epoch in epochs)) if epochs else None


def _read(path: Path) -> Manifest | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        key = f"{path.parent.parent.name}/{path.parent.name}"
        return Manifest(key, dict(raw["request"]), dict(raw.get("code_files", {})), path.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(dotted key, value before, value now) of every leaf that differs; None for a missing value."""
    for key in sorted({*now, *before}):
        a, b = before.get(key), now.get(key)
        rows = _rows(b), _rows(a)
        if a == b:
            continue
        if rows[0] is None or rows[1] is None or rows[0] == rows[1]:
            yield key, a, b
        else:
            yield from ((f"{key}.{inner}", was, given) for inner, was, given in differences(rows[0], rows[1]))


def _rows(value: Any) -> Mapping[str, Any] | None:
    """A mapping unchanged, a list of named rows as a mapping by name, None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and all(isinstance(row, Mapping) and "name" in row for row in value):
        return {row["name"]: {k: v for k, v in row.items() if k != "name"} for row in value}
    return None
