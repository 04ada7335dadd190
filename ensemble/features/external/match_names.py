"""Which row of a file is which image: by name, never by order.

Names may carry folders (`query/0001.jpg`, `/data/market/query/0001.jpg`) or not. They are compared as they stand, then
by their last part, then by their last two and three; the first comparison in which the file's names are all different,
the images' names are all different, and every image is found, is the one that holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import MismatchedBanks
from models.data.spelling import plain
from models.data.split import UNKNOWN, Split

Key = Callable[[str], str]
SHOWN = 3
JUNK = re.compile(r"-1_c\d")  # Market-1501's junk images, which its layout leaves out and some extractors do not


@dataclass(frozen=True)
class Image:
    """One image of the data set: its name, and where it lies."""

    name: str
    path: Path


def last_parts(depth: int) -> Key:
    """The last so many parts of a path, under either slash."""
    return lambda text: "/".join(text.replace("\\", "/").rstrip("/").split("/")[-depth:])


KEYS: tuple[tuple[str, Key | None], ...] = (
    ("", None),
    ("without their folders", last_parts(1)),
    ("with their last folder", last_parts(2)),
    ("with their last two folders", last_parts(3)),
    ("whatever their spelling (capitals, Unicode form, .jpeg for .jpg)", lambda text: plain(last_parts(1)(text))),
    ("whatever their spelling, with their last folder", lambda text: plain(last_parts(2)(text))),
)


@dataclass(frozen=True)
class Aligned:
    """rows: of the file, one an image wanted, in its order. how: what the names were compared by, if not as written."""

    rows: NDArray[np.intp]
    how: str


def images_of(*splits: Split) -> list[Image]:
    """Their images, one after the other."""
    return [Image(n, p) for split in splits for n, p in zip(split.names, split.paths, strict=True)]


def align(where: str, names: Sequence[str], wanted: Sequence[Image], others: Sequence[Image] = ()) -> Aligned:
    """The row of each image wanted.

    Args:
        where: what to call the file in an error.
        names: of its rows.
        wanted: every image that needs a row; an image may be wanted twice.
        others: images of the data set that may be in the file as well, and are not used.

    Raises:
        MismatchedBanks: a name is twice there, an image has no row, or a row belongs to no image; it says which.
    """
    attempts = [_attempt(names, wanted, others, key) for _, key in KEYS]
    for (how, _), found in zip(KEYS, attempts, strict=True):
        if isinstance(found, np.ndarray):
            return Aligned(found, how)
    troubles = [found for found in attempts if isinstance(found, _Trouble)]
    raise MismatchedBanks(f"{where}: {min(troubles, key=lambda t: t.count).text}")


@dataclass(frozen=True)
class _Trouble:
    """Why a comparison does not hold, and by how many names."""

    count: int
    text: str


def _attempt(
    names: Sequence[str], wanted: Sequence[Image], others: Sequence[Image], key: Key | None
) -> NDArray[np.intp] | _Trouble:
    theirs = [key(name) if key else name for name in names]
    ours = [_own_key(image, key) for image in wanted]
    twice = [name for name, n in Counter(theirs).items() if n > 1]
    if twice:
        return _Trouble(len(names), f"{_count(twice, 'name is', 'names are')} there more than once: {_shown(twice)}")
    place_of: dict[str, Path] = {}
    for image, own in zip(wanted, ours, strict=True):
        if place_of.setdefault(own, image.path) != image.path:
            text = f"{own!r} is {place_of[own]} and {image.path}: give query and gallery apart, or names with folders"
            return _Trouble(len(names) + 1, text)
    row_of = {name: row for row, name in enumerate(theirs)}
    missing = [name for name in dict.fromkeys(ours) if name not in row_of]
    known = {*ours, *(_own_key(image, key) for image in others)}
    extra = [name for name in theirs if name not in known and not JUNK.match(name.rpartition("/")[2])]
    if not missing and not extra:
        return np.array([row_of[own] for own in ours], dtype=np.intp)
    said = [f"has no row for {len(missing):,} of {len(place_of):,} images: {_shown(missing)}"] * bool(missing)
    said += [f"has {_count(extra, 'name', 'names')} that the data set does not have: {_shown(extra)}"] * bool(extra)
    return _Trouble(len(missing) + len(extra), "; ".join(said))


def _own_key(image: Image, key: Key | None) -> str:
    """Of an image: its name as a submission has it, or the last parts of its path."""
    return image.name if key is None else key(image.path.as_posix())


def align_by_labels(
    where: str, pids: NDArray[np.int64], camids: NDArray[np.int64], split: Split, others: Mapping[str, str]
) -> NDArray[np.intp]:
    """Rows of a file without names: in the order of the names, held against each image's identity and camera.

    layumi's files are made by torchvision's ImageFolder, which sorts by identity's folder and name, as names sort.
    Junk rows, of identity -1, are left out. Two images of one person under one camera cannot be told apart by this.

    Args:
        others: what to write in an error: `side`, and `do`, what to do instead.

    Raises:
        MismatchedBanks: identities are not known here, or a row's identity or camera is another.
    """
    unknown = [n for n, p, c in zip(split.names, split.pids, split.camids, strict=True) if UNKNOWN in (p, c)]
    if unknown or not len(split):
        raise MismatchedBanks(
            f"{where}: has no names, and identity and camera of {len(unknown):,} of {len(split):,} {others['side']} "
            f"images ({_shown(unknown)}) are not known here to hold its order against; {others['do']}"
        )
    rows = np.flatnonzero(pids != UNKNOWN)
    by_name = np.array(sorted(range(len(split)), key=lambda i: split.names[i]))
    if len(rows) != len(split):
        raise MismatchedBanks(
            f"{where}: has no names, and {len(rows):,} {others['side']} rows that are no junk for {len(split):,} "
            f"images; {others['do']}"
        )
    wrong = (pids[rows] != split.pids[by_name]) | (camids[rows] != split.camids[by_name])
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        image = by_name[at]
        raise MismatchedBanks(
            f"{where}: has no names, and by its order {others['side']} row {rows[at]} would be {split.names[image]!r}, "
            f"identity {split.pids[image]} and camera {split.camids[image]}, where it says {pids[rows[at]]} and "
            f"{camids[rows[at]]} ({int(wrong.sum()):,} such rows); {others['do']}"
        )
    found = np.empty(len(split), dtype=np.intp)
    found[by_name] = rows
    return found


def _count(names: Sequence[str], one: str, many: str) -> str:
    return f"{len(names):,} {one if len(names) == 1 else many}"


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
