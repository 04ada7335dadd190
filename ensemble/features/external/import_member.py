"""A member from outside becomes a bank: read, matched with the data set by name, checked, made of unit rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.schema import Outside
from configs.store.atomic_files import file_digest, room_for
from configs.store.code_version import code_version
from configs.store.store import Address, Store
from ensemble.features.external.match_names import Aligned, Image, align, align_by_labels, images_of
from ensemble.features.external.read_file import Matrices, Rows, read_outside
from ensemble.features.feature_bank import FEATS, MATRICES, save_bank, save_names
from ensemble.results.cache_keys import FEATURE_BANK
from models.data.split import Benchmark, Split

HERE = Path(__file__).parent
BLOCK = 4096  # rows at a time
ROUNDING = 1e-5  # of the length of a unit row in float32
Tests = Mapping[str, tuple[Split, Split]]
MATRIX_BLOCK = 512  # rows at a time
Say = Callable[[str], None]


@dataclass(frozen=True)
class Matched:
    """What a file holds for each test: sources of the query's and the gallery's rows, or matrices and their rows."""

    given: tuple[Rows, ...] | Matrices
    rows: dict[str, tuple[tuple[int, NDArray[np.intp]], tuple[int, NDArray[np.intp]]]]
    said: str


def outside_address(outside: Outside, test: str, query: Split, gallery: Split) -> Address:
    """Of its bank: the file's contents, the names of the images, the code that reads it."""
    names = json.dumps([query.names, gallery.names])
    request = {
        "outside": content_of(Path(outside.file)),
        "names": hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        "code": code_version(HERE, FEATURE_BANK),
    }
    return Address("features", f"{outside.name}-{test}", request)


def content_of(path: Path) -> str:
    """The digest of a file, or of a folder's `.npy` files and names.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if not path.is_dir():
            return file_digest(path)[:12]
        files = sorted(p for p in path.iterdir() if p.suffix in (".npy", ".json") and p.is_file())
        return hashlib.sha256("".join(f"{p.name}\0{file_digest(p)}\n" for p in files).encode()).hexdigest()[:12]
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror})") from e


def match(outside: Outside, tests: Tests, others: Sequence[Split]) -> Matched:
    """Read a file and find each test's images in it.

    Args:
        tests: name -> query, gallery.
        others: lists of the data set that the file may cover as well.

    Raises:
        DataError: it cannot be read. MismatchedBanks: it is not of these images; the message names them.
    """
    path = Path(outside.file)
    given, aside = read_outside(path), images_of(*others)
    if isinstance(given, Matrices):
        return _match_matrices(path, given, tests, aside)
    rows, how = {}, set[str]()
    if given[0].names is None:
        rows = {test: _by_labels(path, given, sides) for test, sides in tests.items()}
        how.add("no names in it: taken in the order of the names, every row's identity and camera agree")
    elif len(given) == 1:
        wanted = images_of(*(split for sides in tests.values() for split in sides))
        found = align(str(path), given[0].names, wanted, aside)
        parts = _parted(found.rows, [len(split) for sides in tests.values() for split in sides])
        rows = {test: ((0, parts[2 * i]), (0, parts[2 * i + 1])) for i, test in enumerate(tests)}
        how.add(found.how)
    else:
        sides = [_match_side(path, given, tests, aside, place) for place in range(2)]
        rows = {test: ((0, sides[0][0][test]), (1, sides[1][0][test])) for test in tests}
        how |= {found.how for _, found in sides}
    sizes = " + ".join(f"{len(r.feats):,} x {r.feats.shape[1]:,}" for r in given)
    words = ", ".join(sorted(h if h.startswith("no ") else f"names compared {h}" for h in how if h))
    return Matched(
        given, rows, f"{outside.name}, from {path}: {sizes} {given[0].feats.dtype}" + f"; {words}" * bool(words)
    )


def _match_side(
    path: Path, given: Sequence[Rows], tests: Tests, aside: Sequence[Image], place: int
) -> tuple[dict[str, NDArray[np.intp]], Aligned]:
    """The rows of one side of every test, all in that side's table."""
    splits = [sides[place] for sides in tests.values()]
    table = given[place]
    found = align(f"{path}, {table.side}", table.names or (), images_of(*splits), aside)
    return dict(zip(tests, _parted(found.rows, [len(s) for s in splits]), strict=True)), found


def _by_labels(
    path: Path, given: Sequence[Rows], sides: tuple[Split, Split]
) -> tuple[tuple[int, NDArray[np.intp]], tuple[int, NDArray[np.intp]]]:
    do = f"write it anew with its names: {__package__}.save, or query_names and gallery_names beside query_f"
    found = []
    for place, (table, split) in enumerate(zip(given, sides, strict=True)):
        if table.pids is None or table.camids is None:
            raise DataError(f"{path}: has neither names nor labels; {do}")
        rows = align_by_labels(str(path), table.pids, table.camids, split, {"side": table.side, "do": do})
        found.append((place, rows))
    return found[0], found[1]


def _match_matrices(path: Path, given: Matrices, tests: Tests, aside: Sequence[Image]) -> Matched:
    if len(tests) > 1:
        raise DataError(f"{path}: distances are of one query and gallery; with --holdout give features")
    rows, how = {}, set[str]()
    for test, sides in tests.items():
        found = [
            align(f"{path}, {side}", names, images_of(split), aside)
            for side, names, split in zip(("query", "gallery"), (given.query, given.gallery), sides, strict=True)
        ]
        rows[test] = ((0, found[0].rows), (1, found[1].rows))
        how |= {f"; names compared {f.how}" for f in found if f.how}
    said = f"distances from {path}: {len(given.query):,} x {len(given.gallery):,}{''.join(sorted(how))}"
    return Matched(given, rows, said)


def _parted(rows: NDArray[np.intp], lengths: Sequence[int]) -> list[NDArray[np.intp]]:
    return np.split(rows, np.cumsum(lengths)[:-1])


def save_outside(folder: Path, matched: Matched, test: str, query: Split, gallery: Split) -> str:
    """Write one test's bank: unit rows, or the matrices in the data set's order. What was done to the rows, in words.

    Raises:
        DataError: a row is NaN, infinite or zero, or a distance NaN, infinite or negative; it names the image.
    """
    (at_query, query_rows), (at_gallery, gallery_rows) = matched.rows[test]
    names = (*query.names, *gallery.names)
    if isinstance(matched.given, Matrices):
        save_matrices(folder, matched.given, query_rows, gallery_rows, query.names, gallery.names)
        return "distances as they are"
    sources = matched.given[at_query].feats, matched.given[at_gallery].feats
    if sources[0].shape[1] != sources[1].shape[1]:
        raise DataError(f"query has {sources[0].shape[1]} dimensions and gallery {sources[1].shape[1]}; wanted as many")
    feats = np.empty((len(names), sources[0].shape[1]), np.float32)
    lengths = np.empty(len(names))
    for rows, source, start in ((query_rows, sources[0], 0), (gallery_rows, sources[1], len(query_rows))):
        for first in range(0, len(rows), BLOCK):
            part = slice(start + first, start + min(first + BLOCK, len(rows)))
            feats[part], lengths[part] = _unit(source[rows[first : first + BLOCK]], names[part])
    save_bank(folder, feats, query.names, gallery.names)
    low, high = lengths.min(), lengths.max()
    return (
        "unit rows" if high - low < 1e-3 and abs(high - 1) < 1e-3 else f"rows of length {low:.3g} to {high:.3g} made 1"
    )


def _unit(block: NDArray, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Rows over their length, in float64 and scaled first, so that no square over- or underflows; and the lengths.

    A row that is of unit length but for its rounding stays as it is, bit for bit.
    """
    rows = np.asarray(block, np.float64)
    largest = np.abs(rows).max(axis=1)
    bad = ~(np.isfinite(rows).all(axis=1) & (largest > 0))
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        what = "zero: it has no direction" if largest[at] == 0 else "not finite (NaN or infinite)"
        more = f", and {int(bad.sum()) - 1:,} more in these rows" if bad.sum() > 1 else ""
        raise DataError(f"the feature of {names[at]!r} is {what}{more}; extract it again")
    scaled = rows / largest[:, None]
    length = np.sqrt(np.einsum("nd,nd->n", scaled, scaled))
    lengths = length * largest
    there = np.abs(lengths - 1) < ROUNDING
    return np.where(there[:, None], rows, scaled / length[:, None]).astype(np.float32), lengths


def save_matrices(
    folder: Path,
    given: Matrices,
    query_rows: NDArray[np.intp],
    gallery_rows: NDArray[np.intp],
    query_names: Sequence[str],
    gallery_names: Sequence[str],
) -> None:
    """Write qq, qg and gg (float32) with rows and columns in the data set's order.

    Raises:
        DataError: a distance is NaN, infinite or negative, or most images are farthest from themselves.
    """
    sides = {"q": (query_rows, query_names), "g": (gallery_rows, gallery_names)}
    for key in MATRICES:
        (rows, names), (cols, _) = sides[key[0]], sides[key[1]]
        _write(folder / f"{key}.npy", getattr(given, key), rows, cols, names, square=key[0] == key[1])
    save_names(folder, query_names, gallery_names)


def _write(
    path: Path, matrix: NDArray, rows: NDArray[np.intp], cols: NDArray[np.intp], names: Sequence[str], square: bool
) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), len(cols))}
    farthest = 0
    with room_for(path, 4 * len(rows) * len(cols)), open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, header)
        for start in range(0, len(rows), MATRIX_BLOCK):
            part = np.asarray(matrix[rows[start : start + MATRIX_BLOCK]][:, cols], np.float32)
            wrong = ~(np.isfinite(part) & (part >= 0)).all(axis=1)
            if wrong.any():
                name = names[start + int(np.flatnonzero(wrong)[0])]
                raise DataError(f"{path.name}: distances of {name!r} are NaN, infinite or negative; wanted 0 or more")
            if square:
                own = part[np.arange(len(part)), start + np.arange(len(part))]
                farthest += int(((own >= part.max(axis=1)) & (own > part.min(axis=1))).sum())
            f.write(np.ascontiguousarray(part, "<f4").tobytes())
    if farthest > len(rows) / 2:
        raise DataError(
            f"{path.name}: {farthest:,} of {len(rows):,} images are farthest from themselves: these look like "
            "similarities; give distances, such as 1 - similarity"
        )


@dataclass(frozen=True)
class Incoming:
    """One file, where its bank of each test lies, and the other lists of the data set that it may cover."""

    outside: Outside
    banks: dict[str, Address]
    others: tuple[Split, ...]

    @property
    def size(self) -> int:
        """Bytes of the file, or of a folder's: about those of a bank."""
        path = Path(self.outside.file)
        return sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else [path]))

    @property
    def distances(self) -> bool:
        """Whether it gives distances, and no features."""
        path = Path(self.outside.file)
        return path.is_dir() and not (path / FEATS).exists()

    def take_in(self, store: Store, tests: Tests, say: Say) -> None:
        """Keep its rows of each test, if they are not kept."""
        if all(store.has(address) for address in self.banks.values()):
            return
        matched = match(self.outside, tests, self.others)
        for test, address in self.banks.items():
            done: list[str] = []
            store.get(address, lambda folder, t=test, d=done: d.append(save_outside(folder, matched, t, *tests[t])))  # type: ignore[misc]
            say(f"{self.outside.name}, {test}: {done[0] if done else 'kept'}")


def receive(outside: Outside, tests: Tests, benchmark: Benchmark, store: Store, say: Say) -> Incoming:
    """Name where its banks lie; a file that is not taken in yet is matched now, so that a mistake costs no training.

    Raises:
        DataError: it cannot be read. MismatchedBanks: it is not of these images.
    """
    others = (*benchmark.lists().values(), *benchmark.whole.values())
    incoming = Incoming(
        outside, {test: outside_address(outside, test, *lists) for test, lists in tests.items()}, others
    )
    if not all(store.has(address) for address in incoming.banks.values()):
        say(match(outside, tests, others).said)
    return incoming
