"""The record of a build: its settings and the keys of its results. `submit.make` reads only this."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ResultError
from configs.schema import BuildConfig
from configs.store.atomic_files import check_checksum, write_text
from configs.store.store import Store
from ensemble.kernels.left_out import LeftOut, leave_out

RECORD, LAST = "build.json", "last.json"


@dataclass(frozen=True)
class DomainsAndTracks:
    """Domain of each query and gallery image, and track of each gallery image (-1: none). An empty list is not used."""

    query_domains: list[str]
    gallery_domains: list[str]
    gallery_tracks: list[int]


@dataclass(frozen=True)
class Evaluation:
    """One query list and gallery, with the keys of the results for them.

    Attributes:
        banks: member -> key of its features.
        ranking: key of the ranking.
        neighbours: key of the nearest neighbours, if any.
        query_pids, gallery_pids: identities, -1 unknown; empty if there is nothing to score.
        query_camids, gallery_camids: cameras, -1 unknown.
        kinds: domains and tracks, if retrieval used them.
        itself: gallery row of each query's own image that is in its list, -1 for none; empty if there is none.
        own: gallery row of each query's own image, which the rule `itself` leaves out of its list; else empty.
        query_sequences, gallery_sequences: for the rule `same_sequence`; else empty.
        groups: of all images, queries first, -1 unknown, if the groups of the re-ranking are not the cameras.
        calibration: key of what was learned, with ensemble.fusion=calibrated.
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
    groups: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    query_sequences: list[int] = field(default_factory=list)
    gallery_sequences: list[int] = field(default_factory=list)
    calibration: str | None = None

    @property
    def left_out(self) -> LeftOut | None:
        """What the queries' lists leave out; None for nothing."""
        sequences = (self.query_sequences, self.gallery_sequences) if self.query_sequences else None
        return leave_out(len(self.query_camids), len(self.gallery_camids), self.own or None, sequences)

    def of_queries(self, rows: Sequence[int] | NDArray[np.intp]) -> Evaluation:
        """The same of some queries."""
        names = ("query_pids", "query_camids", "query_sequences", "itself", "own")
        some: dict[str, Any] = {n: [getattr(self, n)[i] for i in rows if getattr(self, n)] for n in names}
        return replace(self, **some)


def all_camids(evaluation: Evaluation) -> NDArray[np.int64]:
    """(N,) cameras of the evaluation's images, queries first."""
    return np.array([*evaluation.query_camids, *evaluation.gallery_camids], np.int64)


def all_groups(evaluation: Evaluation) -> NDArray[np.int64]:
    """(N,) groups of the evaluation's images, queries first: the cameras, unless others were asked for."""
    return np.array(evaluation.groups, np.int64) if evaluation.groups else all_camids(evaluation)


@dataclass(frozen=True)
class FoldFeatures:
    """The training images of one fold, and the features by members that were trained on the other folds.

    Attributes:
        banks: member -> key of its features, a gallery without queries.
        pids, camids: of the images, -1 for an unknown camera.
    """

    banks: dict[str, str]
    pids: list[int]
    camids: list[int]


@dataclass(frozen=True)
class TrainingFolds:
    """All folds of the training images. hashes: key of the image hashes that the near-duplicates were found by."""

    hashes: str
    folds: list[FoldFeatures]


@dataclass(frozen=True)
class Record:
    """One build.

    Attributes:
        plan: its settings.
        data: folder of the data set.
        command: command line that makes it.
        evaluations: `test`, and `holdout` if the build has one.
        rounds: report of each round of pseudo labels, with the key of the labels.
        left_out: list of the data set -> image that competition.skip left out -> its index in the list.
        made_of: keys of all results behind the evaluations, also those behind a missing result.
        folds: features of the training images by members that were not trained on them, if the build has folds.
    """

    plan: dict[str, Any]
    data: str
    command: str
    evaluations: dict[str, Evaluation]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    made_of: list[str] = field(default_factory=list)
    folds: TrainingFolds | None = None

    def all_names(self, part: str, kept: Sequence[str]) -> tuple[str, ...]:
        """All names of a list in the data set's order: the kept ones and the left-out ones."""
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
    if raw.get("folds"):
        raw["folds"] = TrainingFolds(raw["folds"]["hashes"], [FoldFeatures(**one) for one in raw["folds"]["folds"]])
    return Record(**raw)


def _evaluation(raw: dict[str, Any]) -> Evaluation:
    kinds = raw.get("kinds")
    return Evaluation(**raw | {"kinds": DomainsAndTracks(**kinds) if kinds else None})


def open_build(store: Store, key: str | None = None) -> tuple[str, Record, BuildConfig]:
    """Open a build by its key, or the last one; returns its key, record and settings.

    Raises:
        ResultError: no such build, a damaged build, or a record of another version of this code.
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
    """Record a build as the last one of this store."""
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
            f"{store.root / LAST}: is damaged ({e}). Run the build again; it makes only what is missing"
        ) from e
