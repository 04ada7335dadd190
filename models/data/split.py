"""Lists of images with their labels: `Split`, and `Benchmark`, the lists of a data set."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from configs.errors import DataError
from configs.schema import NO_JUNK, PARTS
from configs.store.code_version import Digest
from models.data.crop import image_digest, key_of
from models.data.doctor.finding import Finding
from models.data.images import check_file, how_to_skip
from models.data.spelling import find_file

UNKNOWN = -1  # pid or camid
UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True)
class Split:
    """N images in a fixed order.

    Attributes:
        names: unique names, as used in submissions.
        paths: the files.
        pids, camids: (N,) int64, -1 for unknown.
        domains: the domain of each image, if the data set has domains.
        tracks: (N,) int64, -1 for none, if the data set has tracks.
        sequences: (N,) int64, -1 for unknown, if the data set has sequences. Numbers are those of all lists.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    domains: tuple[str, ...] | None = None
    tracks: NDArray[np.int64] | None = None
    sequences: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        told = [x for x in (self.domains, self.tracks, self.sequences) if x is not None]
        sizes = {len(x) for x in (self.names, self.paths, self.pids, self.camids, *told)}
        if len(sizes) > 1:
            raise ValueError(f"names, paths, pids and camids differ in length: {sorted(sizes)}")
        odd = [name for name in self.names if UNFIT.search(name)]
        if odd:
            raise DataError(
                f"{len(odd)} image names have characters that are not allowed: control or direction marks, or bytes "
                f"that are not UTF-8; first {odd[0]!a}. Rename the files"
            )
        twice = [name for name, n in Counter(self.names).items() if n > 1]
        if twice:
            where = [str(p) for n, p in zip(self.names, self.paths, strict=True) if n == twice[0]]
            raise DataError(
                f"{len(twice)} image names occur twice in one list, first {twice[0]!r} ({', '.join(where[:3])}). "
                "Rename the files: a submission identifies an image by its name only"
            )

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.intp] | list[int]) -> Split:
        """The images with these row numbers, in this order."""
        rows = np.asarray(rows, dtype=np.intp)
        return Split(
            tuple(self.names[i] for i in rows),
            tuple(self.paths[i] for i in rows),
            self.pids[rows],
            self.camids[rows],
            None if self.domains is None else tuple(self.domains[i] for i in rows),
            None if self.tracks is None else self.tracks[rows],
            None if self.sequences is None else self.sequences[rows],
        )

    @property
    def labelled(self) -> bool:
        """Whether there are images and every identity is known."""
        return bool(len(self)) and bool((self.pids != UNKNOWN).all())

    @property
    def cameras(self) -> bool:
        """Whether any camera is known."""
        return bool((self.camids != UNKNOWN).any())


@dataclass(frozen=True)
class Benchmark:
    """The lists of a data set.

    Attributes:
        query, gallery: with pids or without.
        unlabelled: may be empty. Its pids are used only to score pseudo labels, never to train.
        found: findings from reading it.
        whole: list -> the complete list, for lists that images were left out of.
        labels, cameras: number -> name of an identity or a camera, where it is not the number.
    """

    name: str
    root: Path
    train: Split
    query: Split
    gallery: Split
    unlabelled: Split
    found: tuple[Finding, ...] = ()
    whole: Mapping[str, Split] = field(default_factory=dict)
    labels: Mapping[int, str] = field(default_factory=dict)
    cameras: Mapping[int, str] = field(default_factory=dict)

    def lists(self) -> dict[str, Split]:
        """The lists by name."""
        return {part: getattr(self, part) for part in PARTS}

    def left_out(self) -> dict[str, dict[str, int]]:
        """List -> the images left out of it: name -> row in the complete list."""
        kept = {part: set(split.names) for part, split in self.lists().items()}
        return {
            part: {name: i for i, name in enumerate(split.names) if name not in kept[part]}
            for part, split in self.whole.items()
        }

    @property
    def scorable(self) -> bool:
        """Whether query and gallery have common identities."""
        return scorable(self.query, self.gallery)


def own_rows(
    query: Split, gallery: Split, digests: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> NDArray[np.int64]:
    """(Q,) the gallery row with the same path and box, or the same content, as each query, -1 for none.

    Args:
        digests: for query and gallery, name -> digest of the file's content, if known.
    """
    row = {digests[1][name]: i for i, name in enumerate(gallery.names) if name in digests[1]}
    at = {key_of(path): i for i, path in enumerate(gallery.paths)}
    found = [
        at.get(key_of(path), row.get(digests[0].get(name, ""), -1))
        for name, path in zip(query.names, query.paths, strict=True)
    ]
    return np.array(found, np.int64)


def scorable(query: Split, gallery: Split, junk: str = NO_JUNK) -> bool:
    """Whether at least one query has a correct match in the gallery. Images without an identity do not count.

    Args:
        junk: the competition's rules: what they leave out of a query's list is no correct match.
    """
    there: dict[int, list[int]] = defaultdict(list)
    for row, pid in enumerate(gallery.pids.tolist()):
        there[pid].append(row)
    rules = junk.split("+")
    own = own_rows(query, gallery) if "itself" in rules else np.full(len(query), -1)
    gone = {"same_pid_same_cam": (query.camids, gallery.camids), "same_sequence": sequences_of(query, gallery)}
    sides = [gone[rule] for rule in rules if gone.get(rule) is not None]
    for i, pid in enumerate(query.pids.tolist()):
        rows = np.array(there.get(pid, []) if pid != UNKNOWN else [], np.int64)
        kept = rows != own[i]
        for asked, told in sides:  # type: ignore[misc]
            kept &= (told[rows] != asked[i]) | (asked[i] == UNKNOWN)
        if kept.any():
            return True
    return False


def sequences_of(query: Split, gallery: Split) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Sequences of query and gallery; None if a side knows none."""
    if query.sequences is None or gallery.sequences is None:
        return None
    sides = query.sequences, gallery.sequences
    return sides if all((side != UNKNOWN).any() for side in sides) else None


def join(lists: Mapping[str, Split]) -> Split:
    """Concatenate lists. Names get the list's name in front, as in `query/0001.jpg`, unless it is ''."""
    splits = list(lists.values())
    return Split(
        tuple(f"{key}/{name}" if key else name for key, split in lists.items() for name in split.names),
        tuple(path for split in splits for path in split.paths),
        np.concatenate([split.pids for split in splits]),
        np.concatenate([split.camids for split in splits]),
    )


def make_split(rows: list[tuple[str, Path, int, int]]) -> Split:
    """A Split from rows (name, path, pid, camid), sorted by name."""
    rows = sorted(rows, key=lambda row: row[0])
    pids = np.array([r[2] for r in rows], dtype=np.int64)
    camids = np.array([r[3] for r in rows], dtype=np.int64)
    return Split(tuple(r[0] for r in rows), tuple(r[1] for r in rows), pids, camids)


def label_digest(split: Split) -> str:
    """12 hex digits over the pids, in the order of the names."""
    return hashlib.sha256(json.dumps(split.pids.tolist()).encode()).hexdigest()[:12]


def content_digest(split: Split, n_jobs: int = -1) -> Digest:
    """12 hex digits over the names and bytes of all files. Pids and camids do not count."""
    files = Parallel(n_jobs=n_jobs, prefer="threads", batch_size=64)(delayed(_digest)(p) for p in split.paths)
    total = hashlib.sha256()
    for name, file in zip(split.names, files, strict=True):
        total.update(f"{name}\0{file}\n".encode())
    parts = {name: file[:12] for name, file in zip(split.names, files, strict=True)}
    return Digest(total.hexdigest()[:12], parts)


def _digest(path: Path) -> str:
    try:
        check_file(path)
        return image_digest(path)
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else e
        meant = find_file(path)
        there = f"; there is {meant.name!r}" if meant is not None else ""
        raise DataError(f"{path}: cannot be read ({reason}{there}). Restore it, or {how_to_skip(path)}") from e
