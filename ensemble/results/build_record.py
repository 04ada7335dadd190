"""What a build made, written down: `submit.make` reads exactly this, and guesses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ResultError
from configs.schema import BuildConfig
from configs.store.atomic_files import check_checksum, write_text
from configs.store.store import Store

RECORD, LAST = "build.json", "last.json"


@dataclass(frozen=True)
class DomainsAndTracks:
    """The domain of each query and gallery image, the track of each gallery image (-1: none); empty: not counted."""

    query_domains: list[str]
    gallery_domains: list[str]
    gallery_tracks: list[int]


@dataclass(frozen=True)
class Evaluation:
    """One pair of query and gallery lists and what was made of it; each key opens a result of the store.

    pids and camids are lists of whole numbers, -1 unknown; empty pids where there is nothing to score. kinds: the
    domains and tracks of the images, where retrieval went by them. itself: the gallery row of each query's own image,
    -1 for none; empty where no query is in the gallery.
    """

    banks: dict[str, str]
    ranking: str
    neighbours: str | None
    query_pids: list[int]
    query_camids: list[int]
    gallery_pids: list[int]
    gallery_camids: list[int]
    kinds: DomainsAndTracks | None = None
    itself: list[int] = field(default_factory=list)


def all_camids(evaluation: Evaluation) -> NDArray[np.int64]:
    """The cameras of its N images, queries first."""
    return np.array([*evaluation.query_camids, *evaluation.gallery_camids], np.int64)


@dataclass(frozen=True)
class Record:
    """One build: the plan it carried out, and its evaluations: `test`, and `holdout` where one was asked for.

    rounds: of every round of guessed labels its report, and the key that opens the labels.
    left_out: list of the data set -> the images that competition.skip left out of it, and the place of each there.
    made_of: the keys of all results behind the evaluations, so that a missing one does not hide those behind it.
    """

    plan: dict[str, Any]
    data: str
    command: str
    evaluations: dict[str, Evaluation]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    made_of: list[str] = field(default_factory=list)

    def all_names(self, part: str, kept: Sequence[str]) -> tuple[str, ...]:
        """The names of a list as the data set has it: those kept, and those left out in their places."""
        names = list(kept)
        for name, place in sorted(self.left_out.get(part, {}).items(), key=itemgetter(1)):
            names.insert(place, name)
        return tuple(names)


def describe_left_out(left_out: Mapping[str, Mapping[str, int]]) -> str:
    """`left out by competition.skip: 1 image of gallery (000006.jpg)`."""
    told = []
    for part, names in left_out.items():
        few = ", ".join(sorted(names)[:3]) + ", ..." * (len(names) > 3)
        told.append(f"{len(names):,} {'image' if len(names) == 1 else 'images'} of {part} ({few})")
    return f"left out by competition.skip: {', '.join(told)}"


def save_record(folder: Path, record: Record) -> None:
    """Write a record's one file."""
    write_text(folder / RECORD, json.dumps(asdict(record), indent=1) + "\n")


def load_record(folder: Path) -> Record:
    """Read a record."""
    raw = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    raw["evaluations"] = {name: _evaluation(e) for name, e in raw["evaluations"].items()}
    return Record(**raw)


def _evaluation(raw: dict[str, Any]) -> Evaluation:
    kinds = raw.get("kinds")
    return Evaluation(**raw | {"kinds": DomainsAndTracks(**kinds) if kinds else None})


def open_build(store: Store, key: str | None = None) -> tuple[str, Record, BuildConfig]:
    """The build of a key, or the last one: its key, its record and its plan.

    Raises:
        ResultError: there is no such build, or it is damaged, or another version of this code wrote it.
    """
    key = key or last_build(store)
    there = sorted(p.parent.relative_to(store.root).as_posix() for p in store.root.glob("builds/*/manifest.json"))
    if key not in there:
        raise ResultError(f"--build {key!r}: {store.root} has {', '.join(there) or 'no finished build'}")
    folder = store.open(key)
    try:
        record = load_record(folder)
        return key, record, BuildConfig.model_validate(record.plan)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        said = " ".join(str(e).split())[:200]
        raise ResultError(f"{folder}: a record of another version ({said}); run the build again") from e


def point_at(store: Store, key: str) -> None:
    """Remember a build as the last one of this store."""
    store.point_at(LAST, {"build": key})


def last_build(store: Store) -> str:
    """The key of the last build of this store.

    Raises:
        ResultError: there is none.
    """
    try:
        text = (store.root / LAST).read_bytes()
    except OSError as e:
        raise ResultError(
            f"{store.root}: no finished build is recorded there. Run python -m ensemble.build first, or name its "
            "folder with --runs"
        ) from e
    try:
        return str(check_checksum(text.decode())["build"])
    except (ValueError, KeyError) as e:
        raise ResultError(
            f"{store.root / LAST}: is damaged ({e}). Run the build again; it makes what is missing and keeps the rest"
        ) from e
