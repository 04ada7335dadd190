"""What the kept results of a store say of themselves: their manifests, and the epochs of trained members."""

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

MADE_OF = {"images": "images", "query": "images", "gallery": "images", "weights": "members", "banks": "features"}
BANKS = ("features", "whitened", "expanded")  # kinds of results that are banks
FILES = "files.json"  # of a result made of files: the name of each -> a digest of its contents
EPOCHS = "epochs.jsonl"
EPOCH_KEYS = {"epoch", "lr", "loss", "terms", "apart", "images", "seconds"}


@dataclass(frozen=True)
class Manifest:
    """What a kept result says of itself."""

    key: str
    request: Mapping[str, Any]
    code: Mapping[str, str]
    when: float


class ResultHistory:
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
        return min(same, key=lambda m: len(list(differences(wanted.request, m.request))), default=None)

    def by_digest(self, kind: str, digest: str) -> Manifest | None:
        """The result that another one's request names by its digest; a bank may be whitened or expanded."""
        kinds = BANKS if kind in BANKS else (kind,)
        found = (m for m in self.manifests if m.key.split("/")[0] in kinds and m.key.endswith(f"-{digest}"))
        return next(found, None)


def save_parts(folder: Path, address: Address) -> None:
    """Write down what decoded images were made from, so that a changed one can be named."""
    contents = address.request["contents"]
    if isinstance(contents, Digest):
        (folder / FILES).write_text(json.dumps(contents.parts) + "\n", encoding="ascii")


def epochs_of(store: Store, key: str) -> list[dict[str, Any]]:
    """The lines of a member's `epochs.jsonl`; none where they cannot be read."""
    try:
        lines = (store.root / key / EPOCHS).read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []
    return [e for e in found if isinstance(e, dict) and set(e) >= EPOCH_KEYS]


def extracted(store: Store, bank: str) -> str:
    """The key of the features that a bank was whitened or averaged from; its own, where it was not.

    Args:
        bank: its key, such as `whitened/r50-test-0123456789ab`.

    Raises:
        ResultError: what it was made from is not there.
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
    """Seconds of all epochs of the member that a bank's features come from; None where nobody timed it here.

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
    """(dotted key, what it was, what it is) of every leaf that differs; None for one that is not there."""
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
    """A mapping as it is, a list of named rows by their names; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list) and all(isinstance(row, Mapping) and "name" in row for row in value):
        return {row["name"]: {k: v for k, v in row.items() if k != "name"} for row in value}
    return None
