"""Match the rows of a file with images by name, never by order.

Names may have folders (`query/0001.jpg`, `/data/market/query/0001.jpg`) or not.
They are compared as written, then by their last part, then by their last two and three parts.
A comparison is used if the file's names are unique, the images' names are unique, and every image is found.
The first such comparison counts.
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
JUNK = re.compile(r"-1_c\d")  # Market-1501's junk images: the layout leaves them out, some extractors do not


@dataclass(frozen=True)
class Image:
    """One image of the data set: its name and its path."""

    name: str
    path: Path


def last_parts(depth: int) -> Key:
    """A key: the last `depth` parts of a path, with / or \\ as separator."""
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
    """The result of a match.

    Attributes:
        rows: row of the file for each image, in the order of the images.
        how: how the names were compared; empty: as written.
    """

    rows: NDArray[np.intp]
    how: str


def images_of(*splits: Split) -> list[Image]:
    """All images of the lists, in order."""
    return [Image(n, p) for split in splits for n, p in zip(split.names, split.paths, strict=True)]


def align(where: str, names: Sequence[str], wanted: Sequence[Image], others: Sequence[Image] = ()) -> Aligned:
    """Find the row of each wanted image.

    Args:
        where: name of the file in messages.
        names: one per row of the file.
        wanted: images that need a row; an image may occur twice.
        others: images of the data set that the file may contain too; they are not used.

    Raises:
        MismatchedBanks: a name occurs twice, an image has no row, or a row has no image. The message names it.
    """
    attempts = [_attempt(names, wanted, others, key) for _, key in KEYS]
    for (how, _), found in zip(KEYS, attempts, strict=True):
        if isinstance(found, np.ndarray):
            return Aligned(found, how)
    troubles = [found for found in attempts if isinstance(found, _Trouble)]
    raise MismatchedBanks(f"{where}: {min(troubles, key=lambda t: t.count).text}")


@dataclass(frozen=True)
class _Trouble:
    """Why a comparison fails, and the number of names concerned."""

    count: int
    text: str


def _attempt(
    names: Sequence[str], wanted: Sequence[Image], others: Sequence[Image], key: Key | None
) -> NDArray[np.intp] | _Trouble:
    theirs = [key(name) if key else name for name in names]
    ours = [_own_key(image, key) for image in wanted]
    twice = [name for name, n in Counter(theirs).items() if n > 1]
    if twice:
        return _Trouble(len(names), f"{_count(twice, 'name occurs', 'names occur')} more than once: {_shown(twice)}")
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
    """The key of an image: its name as in a submission, or the last parts of its path."""
    return image.name if key is None else key(image.path.as_posix())


def align_by_labels(
    where: str, pids: NDArray[np.int64], camids: NDArray[np.int64], split: Split, others: Mapping[str, str]
) -> NDArray[np.intp]:
    """Rows of a file without names, taken in the order of the image names and checked by identity and camera.

    layumi's files come from torchvision's ImageFolder. It sorts by identity folder, then by name: the order of names.
    Junk rows (identity -1) are left out. The check cannot see a swap of two images of one person and camera.

    Args:
        where: name of the file in messages.
        pids, camids: one per row of the file.
        split: the images.
        others: words for messages: `side`, and `do`, the advice.

    Raises:
        MismatchedBanks: unknown identities, or a row has another identity or camera than its image.
    """
    unknown = [n for n, p, c in zip(split.names, split.pids, split.camids, strict=True) if UNKNOWN in (p, c)]
    if unknown or not len(split):
        raise MismatchedBanks(
            f"{where}: has no names, and its order cannot be checked: identity or camera of {len(unknown):,} of "
            f"{len(split):,} {others['side']} images ({_shown(unknown)}) is unknown; {others['do']}"
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
