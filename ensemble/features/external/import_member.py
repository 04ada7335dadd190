"""Import an external member as a bank: read the file, match names with the data set, check, normalise rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError, MismatchedBanks
from configs.schema import ExternalMember
from configs.store.atomic_files import file_digest, room_for
from configs.store.code_version import code_version
from configs.store.store import Address, Store
from ensemble.features.external.match_names import Aligned, Image, align, align_by_labels, images_of
from ensemble.features.external.read_file import FileDistances, FileFeatures, read_external
from ensemble.features.feature_bank import FEATS, MATRICES, save_bank, save_names
from ensemble.results.cache_keys import FEATURE_BANK
from models.data.split import Benchmark, Split

HERE = Path(__file__).parent
BLOCK = 4096  # rows at a time
ROUNDING = 1e-5  # rounding of the length of a unit row in float32
Tests = Mapping[str, tuple[Split, Split]]
EMPTY: Mapping[int, str] = MappingProxyType({})
MATRIX_BLOCK = 512  # rows at a time
Say = Callable[[str], None]


@dataclass(frozen=True)
class MatchedFile:
    """A file, matched with the images of each test.

    Attributes:
        given: contents of the file.
        rows: test -> for query and gallery: index into `given`, and rows there.
        said: message that describes the match.
    """

    given: tuple[FileFeatures, ...] | FileDistances
    rows: dict[str, tuple[tuple[int, NDArray[np.intp]], tuple[int, NDArray[np.intp]]]]
    said: str


def external_address(outside: ExternalMember, test: str, query: Split, gallery: Split) -> Address:
    """The address of its bank. It counts the file's contents, the image names and the code that reads them."""
    names = json.dumps([query.names, gallery.names])
    request = {
        "outside": content_of(Path(outside.file)),
        "names": hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:12],
        "code": code_version(HERE, FEATURE_BANK),
    }
    return Address("features", f"{outside.name}-{test}", request)


def content_of(path: Path) -> str:
    """The digest of a file, or of the `.npy` and `.json` files in a folder.

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


def match(
    outside: ExternalMember,
    tests: Tests,
    others: Sequence[Split],
    labels: Mapping[int, str] = EMPTY,
    cameras: Mapping[int, str] = EMPTY,
) -> MatchedFile:
    """Read a file and find each test's images in it.

    Args:
        outside: the external member.
        tests: name -> (query, gallery).
        others: other lists of the data set; the file may contain their images too.
        labels, cameras: number -> name of an identity or a camera, where it is not the number.

    Raises:
        DataError: the file cannot be read.
        MismatchedBanks: the file has other images; the message names them.
    """
    path = Path(outside.file)
    given, aside = read_external(path), images_of(*others)
    if isinstance(given, FileDistances):
        return _match_matrices(path, given, tests, aside)
    rows, how = {}, set[str]()
    if given[0].names is None:
        rows = {test: _by_labels(path, given, sides, labels, cameras) for test, sides in tests.items()}
        how.add("no names in the file: rows taken in the order of the names, all identities and cameras match")
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
    return MatchedFile(
        given, rows, f"{outside.name}, from {path}: {sizes} {given[0].feats.dtype}" + f"; {words}" * bool(words)
    )


def _match_side(
    path: Path, given: Sequence[FileFeatures], tests: Tests, aside: Sequence[Image], place: int
) -> tuple[dict[str, NDArray[np.intp]], Aligned]:
    """The rows of one side (0: query, 1: gallery) of every test in that side's table."""
    splits = [sides[place] for sides in tests.values()]
    table = given[place]
    found = align(f"{path}, {table.side}", table.names or (), images_of(*splits), aside)
    return dict(zip(tests, _parted(found.rows, [len(s) for s in splits]), strict=True)), found


def _by_labels(
    path: Path,
    given: Sequence[FileFeatures],
    sides: tuple[Split, Split],
    labels: Mapping[int, str],
    cameras: Mapping[int, str],
) -> tuple[tuple[int, NDArray[np.intp]], tuple[int, NDArray[np.intp]]]:
    do = f"write it again with names: {__package__}.save, or query_names and gallery_names beside query_f"
    found = []
    for place, (table, split) in enumerate(zip(given, sides, strict=True)):
        if table.pids is None or table.camids is None:
            raise DataError(f"{path}: has neither names nor labels; {do}")
        for what, ids, names in (("identities", split.pids, labels), ("cameras", split.camids, cameras)):
            word = next((names[i] for i in ids.tolist() if i in names and not names[i].isdecimal()), None)
            if word is not None:
                raise MismatchedBanks(
                    f"{path}: has no names, and {what} of this data set are texts, such as {word!r}: the numbers in "
                    f"the file cannot be compared with them; {do}"
                )
        split = replace(split, pids=_as_written(split.pids, labels), camids=_as_written(split.camids, cameras))
        rows = align_by_labels(str(path), table.pids, table.camids, split, {"side": table.side, "do": do})
        found.append((place, rows))
    return found[0], found[1]


def _as_written(ids: NDArray[np.int64], names: Mapping[int, str]) -> NDArray[np.int64]:
    """Ids by the numbers that the data set itself writes."""
    return np.array([int(names.get(i, i)) for i in ids.tolist()], np.int64)


def _match_matrices(path: Path, given: FileDistances, tests: Tests, aside: Sequence[Image]) -> MatchedFile:
    if len(tests) > 1:
        raise DataError(f"{path}: distances belong to one query and gallery list; with --holdout, give features")
    rows, how = {}, set[str]()
    for test, sides in tests.items():
        found = [
            align(f"{path}, {side}", names, images_of(split), aside)
            for side, names, split in zip(("query", "gallery"), (given.query, given.gallery), sides, strict=True)
        ]
        rows[test] = ((0, found[0].rows), (1, found[1].rows))
        how |= {f"; names compared {f.how}" for f in found if f.how}
    said = f"distances from {path}: {len(given.query):,} x {len(given.gallery):,}{''.join(sorted(how))}"
    return MatchedFile(given, rows, said)


def _parted(rows: NDArray[np.intp], lengths: Sequence[int]) -> list[NDArray[np.intp]]:
    return np.split(rows, np.cumsum(lengths)[:-1])


def save_external(folder: Path, matched: MatchedFile, test: str, query: Split, gallery: Split) -> str:
    """Write one test's bank: unit rows, or distance matrices, in the data set's order. Returns a message.

    Raises:
        DataError: a row is NaN, infinite or zero, or a distance is NaN, infinite or negative. It names the image.
    """
    (at_query, query_rows), (at_gallery, gallery_rows) = matched.rows[test]
    names = (*query.names, *gallery.names)
    if isinstance(matched.given, FileDistances):
        save_matrices(folder, matched.given, query_rows, gallery_rows, query.names, gallery.names)
        return "distances, unchanged"
    sources = matched.given[at_query].feats, matched.given[at_gallery].feats
    if sources[0].shape[1] != sources[1].shape[1]:
        raise DataError(f"query has {sources[0].shape[1]} dimensions and gallery {sources[1].shape[1]}; want the same")
    feats = np.empty((len(names), sources[0].shape[1]), np.float32)
    lengths = np.empty(len(names))
    for rows, source, start in ((query_rows, sources[0], 0), (gallery_rows, sources[1], len(query_rows))):
        for first in range(0, len(rows), BLOCK):
            part = slice(start + first, start + min(first + BLOCK, len(rows)))
            feats[part], lengths[part] = _unit(source[rows[first : first + BLOCK]], names[part])
    save_bank(folder, feats, query.names, gallery.names)
    low, high = lengths.min(), lengths.max()
    return (
        "unit rows"
        if high - low < 1e-3 and abs(high - 1) < 1e-3
        else f"rows of length {low:.3g} to {high:.3g}, normalised to 1"
    )


def _unit(block: NDArray, names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Unit rows and the original lengths.

    Rows are scaled in float64 first, so that no square over- or underflows.
    A row of unit length up to rounding stays unchanged, bit for bit.
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
    given: FileDistances,
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
                raise DataError(f"{path.name}: distances of {name!r} are NaN, infinite or negative; want 0 or more")
            if square:
                own = part[np.arange(len(part)), start + np.arange(len(part))]
                farthest += int(((own >= part.max(axis=1)) & (own > part.min(axis=1))).sum())
            f.write(np.ascontiguousarray(part, "<f4").tobytes())
    if farthest > len(rows) / 2:
        raise DataError(
            f"{path.name}: {farthest:,} of {len(rows):,} images are farthest from themselves, so these look like "
            "similarities: give distances, such as 1 - similarity"
        )


@dataclass(frozen=True)
class ImportedMember:
    """One external member.

    Attributes:
        outside: its name and file.
        banks: test -> address of its bank.
        others: other lists of the data set; the file may contain their images too.
        labels, cameras: number -> name of an identity or a camera, where it is not the number.
    """

    outside: ExternalMember
    banks: dict[str, Address]
    others: tuple[Split, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    cameras: Mapping[int, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of the file or folder: about the size of a bank."""
        path = Path(self.outside.file)
        return sum(p.stat().st_size for p in (path.iterdir() if path.is_dir() else [path]))

    @property
    def distances(self) -> bool:
        """Whether it has distances instead of features."""
        path = Path(self.outside.file)
        return path.is_dir() and not (path / FEATS).exists()

    def take_in(self, store: Store, tests: Tests, say: Say) -> None:
        """Write its bank of each test, unless cached."""
        if all(store.has(address) for address in self.banks.values()):
            return
        matched = match(self.outside, tests, self.others, self.labels, self.cameras)
        for test, address in self.banks.items():
            done: list[str] = []
            store.get(address, lambda folder, t=test, d=done: d.append(save_external(folder, matched, t, *tests[t])))  # type: ignore[misc]
            say(f"{self.outside.name}, {test}: {done[0] if done else 'kept'}")


def plan_import(outside: ExternalMember, tests: Tests, benchmark: Benchmark, store: Store, say: Say) -> ImportedMember:
    """The member and the addresses of its banks. A file that is not imported yet is checked now, before any training.

    Raises:
        DataError: the file cannot be read.
        MismatchedBanks: the file has other images.
    """
    others = (*benchmark.lists().values(), *benchmark.whole.values())
    incoming = ImportedMember(
        outside,
        {test: external_address(outside, test, *lists) for test, lists in tests.items()},
        others,
        labels=benchmark.labels,
        cameras=benchmark.cameras,
    )
    if not all(store.has(address) for address in incoming.banks.values()):
        say(match(outside, tests, others, benchmark.labels, benchmark.cameras).said)
    return incoming
