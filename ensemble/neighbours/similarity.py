"""Sources of distances: the members' features, distance matrices (`distances.py`), or a weighted sum of both.

A member's distance between two images is 1 - cos. The members' distances are summed with their weights.
`block` reads similarities `total - distance` in float32, with rounding errors. `double` reads distances in float64.
`pairs` reads exact distances of chosen pairs, summed in float64 and rounded to float32 once.
"""

import hashlib
import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels import exact_distances
from ensemble.kernels.arrays import as_array
from ensemble.kernels.device import lies_on_card
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.distances import DistanceMatrices

Penalties = Sequence[tuple[ArrayLike, float]]
WANT = "an (N, D) array, or a sequence of (N, D_m) arrays"
DOUBLE_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class MemberFeatures:
    """The members' features with their weights.

    A pickled memory map is stored as its file name: workers on other machines open the file. They do not need squares.

    Attributes:
        members: (N, D_m) unit rows each.
        weights: one per member.
        penalties: pairs (labels (N,), amount); the amount is added to the distance of images with the same label.
        squares: (N,) float64 squared row lengths per member. Empty for features that only a CUDA device reads.
        prints: (N,) row hashes per member. Empty in the same case.
    """

    members: tuple[NDArray[np.float32], ...]
    weights: tuple[float, ...]
    penalties: tuple[tuple[NDArray[np.int64], float], ...] = ()
    squares: tuple[NDArray[np.float64], ...] = field(default=(), repr=False)
    prints: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        return len(self.members[0])

    @property
    def total(self) -> float:
        return float(sum(self.weights))

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def widths(self) -> list[int]:
        """D_m of each member."""
        return [a.shape[1] for a in self.members]

    @property
    def amounts(self) -> list[float]:
        """The amounts of the penalties."""
        return [amount for _, amount in self.penalties]

    @property
    def used(self) -> list[tuple[NDArray[np.float32], float]]:
        """The members with a weight above 0, and their weights."""
        return [(a, w) for a, w in zip(self.members, self.weights, strict=True) if w]

    @property
    def lengths(self) -> list[NDArray[np.float64]]:
        """Squared row lengths of the members with a weight above 0."""
        return [squares for squares, w in zip(self.squares, self.weights, strict=True) if w]

    @property
    def fingerprint(self) -> str:
        """A hash of the features, weights and penalties."""
        return fingerprint(self.prints, self.weights, self.penalties)

    @property
    def deviation(self) -> float:
        """The largest deviation of a row's length from 1."""
        return max(float(np.abs(np.sqrt(squares) - 1).max()) for squares in self.lengths)

    def weighted(self, weights: Sequence[float]) -> "MemberFeatures":
        """The same features with other weights; ValueError for invalid weights."""
        return replace(self, weights=checked_weights(weights, len(self.members)))

    def penalise(self, sim: NDArray[np.float32], rows: slice, cols: slice, unit: float = 1.0) -> None:
        """Subtract the penalties from sim (B, C) in place; unit: scale of the block."""
        for labels, amount in self.penalties:
            exact_distances.penalise(sim, rows.start, cols.start, labels, np.float32(amount * unit))

    def left(self, rows: slice) -> list[NDArray[np.float32]]:
        """The rows of each used member times its weight. Several blocks of the same rows share them."""
        return [a[rows] if w == 1 else a[rows] * np.float32(w) for a, w in self.used]

    def block(self, rows: slice, cols: slice, left: Sequence[NDArray[np.float32]] | None = None) -> NDArray[np.float32]:
        """Similarities of rows to cols, (B, C), by float32 products without normalising; left: from `left(rows)`."""
        pairs = zip(left or self.left(rows), self.used, strict=True)
        parts = (np.matmul(mine, a[cols].T, dtype=np.float32) for mine, (a, _) in pairs)
        out: NDArray[np.float32] = next(parts)
        for part in parts:
            out += part
        self.penalise(out, rows, cols)
        return out

    def double(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Distances of rows to cols, (B, C), by float64 products of unit rows. The error is at most `double_bound`."""
        out = np.full((rows.stop - rows.start, cols.stop - cols.start), self.total)
        for (a, w), squares in zip(self.used, self.lengths, strict=True):
            mine, theirs = (a[s] / np.sqrt(squares[s])[:, None] for s in (rows, cols))
            mine *= w
            out -= mine @ theirs.T
        for labels, amount in self.penalties:
            left, right = labels[rows, None], labels[None, cols]
            other = np.arange(rows.start, rows.stop)[:, None] != np.arange(cols.start, cols.stop)
            out += amount * ((left == right) & (left >= 0) & other)
        return out

    @property
    def double_bound(self) -> float:
        """Bound on the error of `double`: n roundings of numbers of this size, in any order."""
        operations = sum(a.shape[1] + 8 for a in self.members) + 4 * len(self.penalties) + 8
        return 2 * operations * DOUBLE_ROUNDOFF * (2 * self.total + sum(amount for _, amount in self.penalties))

    def sums(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.float64]:
        """The distances of `pairs` in float64, before rounding."""
        out = np.zeros(index.size)
        for (feats, weight), squares in zip(self.used, self.lengths, strict=True):
            exact_distances.add_distances(feats, squares, rows, indptr, index, weight, out)
        for labels, amount in self.penalties:
            left = np.repeat(rows, np.diff(indptr))
            out += amount * ((labels[left] == labels[index]) & (labels[index] >= 0) & (left != index))
        return np.maximum(out, 0, out=out)

    def pairs(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray:
        """Exact distances of image rows[i] to each of index[indptr[i]:indptr[i + 1]], (nnz,) float32."""
        return self.sums(rows, indptr, index).astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "members": tuple(_portable(a) for a in self.members), "squares": ()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, members=tuple(_opened(a) for a in state["members"]))


def fingerprint(
    prints: Sequence[str], weights: Sequence[float], penalties: Sequence[tuple[NDArray[np.int64], float]]
) -> str:
    """16 hex digits: a hash of row hashes, weights and penalties. Members with weight 0 do not count."""
    said = [f"{print_}*{w!r}" for print_, w in zip(prints, weights, strict=True) if w]
    said += [f"{hashlib.sha256(labels.tobytes()).hexdigest()}+{amount!r}" for labels, amount in penalties]
    return hashlib.sha256("|".join(said).encode()).hexdigest()[:16]


def print_of(rows: NDArray[np.uint64], dims: int) -> str:
    """A member's hash, from its row hashes."""
    return hashlib.sha256(rows.tobytes() + str(dims).encode()).hexdigest()[:16]


def _portable(array: NDArray) -> NDArray | tuple:
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags.c_contiguous:
        return str(array.filename), array.dtype.str, array.offset, array.shape
    return array


def _opened(held: NDArray | tuple) -> NDArray:
    if isinstance(held, tuple):
        path, dtype, offset, shape = held
        return np.memmap(path, dtype, "r", offset, shape)
    return held


@dataclass(frozen=True)
class FeaturesAndDistances:
    """d(i, j) = sum_m w_m (1 - cos_m(i, j)) + sum_p w_p D_p(i, j).

    Rows and columns are read as in `DistanceMatrices`, so the sum may be asymmetric.

    Attributes:
        largest: the largest value of any D_p, for the rounding bound.
    """

    features: MemberFeatures | None
    matrices: tuple[DistanceMatrices, ...]
    weights: tuple[float, ...]
    largest: float

    @property
    def n(self) -> int:
        return self.matrices[0].n

    @property
    def total(self) -> float:
        return self.features.total if self.features else 0.0

    @property
    def symmetric(self) -> bool:
        return False

    def block(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Similarities of rows to cols, (B, C) float32: those of the features minus the distances."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        out = self.features.block(rows, cols) if self.features else np.zeros(shape, np.float32)
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            out += np.float32(weight) * matrix.block(rows, cols)
        return out

    def double(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Distances of rows to cols, (B, C) float64. The error is at most `double_bound`."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        out = self.features.double(rows, cols) if self.features else np.zeros(shape)
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            out += weight * matrix.double(rows, cols)
        return out

    @property
    def double_bound(self) -> float:
        """Bound on the error of `double`."""
        own = self.features.double_bound if self.features else 0.0
        return own + (2 * len(self.matrices) + 4) * 2.0**-53 * (2 * self.total + sum(self.weights) * self.largest)

    @property
    def fingerprint(self) -> str:
        """A hash of the features, matrices and weights."""
        parts = [f"{m.fingerprint}*{w!r}" for m, w in zip(self.matrices, self.weights, strict=True)]
        parts += [self.features.fingerprint] if self.features else []
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]

    def sums(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.float64]:
        """Distances of image rows[i] to each of index[indptr[i]:indptr[i + 1]], (nnz,) float64."""
        out = self.features.sums(rows, indptr, index) if self.features else np.zeros(index.size)
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            out += weight * matrix.sums(rows, indptr, index)
        return out

    def pairs(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray:
        """`sums`, rounded to float32 once."""
        return self.sums(rows, indptr, index).astype(np.float32)

    @property
    def rounding(self) -> float:
        """Bound on the rounding errors of the additions in `block` and `pairs`. The features' products are extra."""
        operations = 2 * len(self.matrices) + 4
        return operations * 2.0**-24 * (2 * self.total + sum(self.weights) * self.largest)


SimilaritySource = MemberFeatures | DistanceMatrices | FeaturesAndDistances


def read_on_card(source: SimilaritySource, device: str) -> TypeGuard[MemberFeatures]:
    """Whether this source is read on the CUDA device. Distance matrices are always read on the CPU."""
    return device == "cuda" and isinstance(source, MemberFeatures)


def as_source(
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    n_jobs: int = -1,
    device: str = "cpu",
) -> SimilaritySource:
    """Check the arguments and make a source of them.

    Args:
        feats: one (N, D) array, a sequence of (N, D_m) arrays and distance matrices, or a source. A source is returned
            unchanged. All members have the same N and unit rows.
        weights: one per member, finite, >= 0, not all zero. None: 1 each.
        penalties: pairs (labels (N,), amount). The amount is added to the distance of two images with the same label.
        device: with cuda the row lengths are checked on the device.

    Raises:
        ValueError: invalid arguments. The message names rows that are zero, NaN or not unit length.
    """
    if isinstance(feats, MemberFeatures | DistanceMatrices | FeaturesAndDistances):
        if weights is not None or penalties is not None:
            raise ValueError("a source has its weights and penalties already: give them when the source is made")
        return feats
    members = _members(feats)
    chosen = checked_weights(weights if weights is not None else [1.0] * len(members), len(members))
    matrices = [(a, w) for a, w in zip(members, chosen, strict=True) if isinstance(a, DistanceMatrices)]
    arrays = [(_float32(a), w) for a, w in zip(members, chosen, strict=True) if not isinstance(a, DistanceMatrices)]
    there = device == "cuda" and not any(w for _, w in matrices)
    features = _features(arrays, penalties, n_jobs, check=not there) if any(w for _, w in arrays) else None
    if features is None and penalties:
        raise ValueError("penalties need members with features and a weight above 0; there are none")
    if features is not None and not any(w for _, w in matrices):
        return features
    return blend(features, [m for m, _ in matrices], [w for _, w in matrices], n_jobs)


def _members(feats: Any) -> list[Any]:
    """One array per member, from one array, from rows, or from a sequence of arrays; ValueError for anything else."""
    if isinstance(feats, str | bytes | Mapping) or not (hasattr(feats, "ndim") or isinstance(feats, Iterable)):
        raise ValueError(f"features: {type(feats).__name__} is not an array: want {WANT}")
    members = [feats] if hasattr(feats, "ndim") else list(feats)
    if not members:
        raise ValueError(f"no features: give {WANT}")
    first = members[0]
    if not hasattr(feats, "ndim") and not isinstance(first, DistanceMatrices) and _dimensions(first) == 1:
        return [members if isinstance(first, list | tuple) else [as_array(row, "features", WANT) for row in members]]
    return members


def _dimensions(values: Any) -> int:
    """Number of dimensions of an array or of nested lists."""
    if hasattr(values, "ndim"):
        return int(values.ndim)
    return 1 + _dimensions(values[0]) if isinstance(values, list | tuple) and values else int(isinstance(values, list))


def _features(
    given: Sequence[tuple[NDArray, float]], penalties: Penalties | None, n_jobs: int, *, check: bool
) -> MemberFeatures:
    members = tuple(array for array, _ in given)
    squares, prints = [], []
    for m, member in enumerate(members):
        if member.ndim != 2 or not member.size:
            raise ValueError(f"member {m} has shape {member.shape}: want (N, D), one row per image, not empty")
        if len(member) != len(members[0]):
            raise ValueError(f"member {m} has shape {member.shape}: want ({len(members[0])}, D), the same N for all")
        if check:
            lengths, rows = _measured(member, m, n_jobs)
            squares.append(lengths)
            prints.append(print_of(rows, member.shape[1]))
    own = tuple(_penalty(p, len(members[0])) for p in penalties or ())
    return MemberFeatures(members, tuple(w for _, w in given), own, tuple(squares), tuple(prints))


def blend(
    features: MemberFeatures | None, matrices: Sequence[DistanceMatrices], weights: Sequence[float], n_jobs: int
) -> FeaturesAndDistances:
    """The weighted sum of features and matrices. Matrices of weight 0 are left out.

    Raises:
        ValueError: matrices and features of different N, or NaN, infinite or negative distances.
    """
    sizes = {m.n for m in matrices} | ({features.n} if features else set())
    if len(sizes) > 1:
        raise ValueError(f"members with {sorted(sizes)} images: want the same N for all")
    kept = [(m, w) for m, w in zip(matrices, weights, strict=True) if w]
    largest = [_largest(matrix, n_jobs) for matrix in matrices]
    return FeaturesAndDistances(features, tuple(m for m, _ in kept), tuple(w for _, w in kept), max(largest))


def _largest(matrix: DistanceMatrices, n_jobs: int) -> float:
    def work(rows: slice) -> float:
        return float(-matrix.block(rows, slice(0, matrix.n)).min())

    return max(over_rows(work, matrix.n, n_jobs, most=256))


def checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """The weights as floats; ValueError unless one per member, all finite and >= 0, at least one above 0."""
    chosen = tuple(float(w) for w in weights)
    if len(chosen) != members:
        raise ValueError(f"{len(chosen)} weights for {members} members: give one per member")
    if not all(np.isfinite(w) and w >= 0 for w in chosen) or not sum(chosen) > 0:
        raise ValueError(f"weights {chosen}: each must be finite and >= 0, at least one above 0")
    return chosen


def _float32(array: Any) -> NDArray[np.float32]:
    if lies_on_card(array):
        from ensemble.kernels.cuda import card

        return card.adopt(array)
    array = as_array(array, "features", WANT)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"features of {array.dtype}: want real numbers")
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, np.float32)


def _penalty(given: tuple[ArrayLike, float], n: int) -> tuple[NDArray[np.int64], float]:
    labels, amount = np.ascontiguousarray(given[0], np.int64), float(given[1])
    if labels.shape != (n,) or not (np.isfinite(amount) and amount >= 0):
        raise ValueError(f"penalty {amount} with labels of shape {labels.shape}: want ({n},) labels and an amount >= 0")
    return labels, amount


def _measured(feats: NDArray[np.float32], member: int, n_jobs: int) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Squared lengths and hashes of a member's rows; ValueError if a row is not unit length."""
    parts = over_rows(lambda rows: exact_distances.measured(feats, rows.start, rows.stop), len(feats), n_jobs)
    squares, prints = (np.concatenate(column) for column in zip(*parts, strict=True))
    norm = np.sqrt(squares)
    bad = np.flatnonzero(~(np.abs(norm - 1) <= exact_distances.UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(f"member {member}: {exact_distances.not_unit(bad, norm)}")
    return squares, prints
