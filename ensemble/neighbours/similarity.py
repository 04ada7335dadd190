"""Where distances come from: the members' features, distance matrices (`distances.py`), or a sum of both.

A member's distance of two images is 1 - cos, the dot product over both lengths, and several are summed with their
weights. All sources answer the same questions: blocks of similarities `total - distance` that may be off by rounding,
blocks of distances in float64, and the exact distances of chosen pairs: float64 sums, rounded to float32 once.
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
from ensemble.neighbours.distances import Distances

Penalties = Sequence[tuple[ArrayLike, float]]
WANT = "an (N, D) array, or a sequence of (N, D_m) arrays"
DOUBLE_ROUNDOFF = 2.0**-53


@dataclass(frozen=True)
class Features:
    """Members' features (N, D_m) with weights; each penalty adds its amount to the distance of images of one label.

    squares: (N,) float64 squared lengths of each member's rows. prints: what tells its rows from others.
    Both are empty for features that are only read on a CUDA device.
    Pickled, a memory map becomes its file's name: workers on other machines open it instead of receiving it, and have
    no use for the squares.
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
        """Numbers a row of each member."""
        return [a.shape[1] for a in self.members]

    @property
    def amounts(self) -> list[float]:
        """Of the penalties."""
        return [amount for _, amount in self.penalties]

    @property
    def used(self) -> list[tuple[NDArray[np.float32], float]]:
        """The members that weigh something, with their weights."""
        return [(a, w) for a, w in zip(self.members, self.weights, strict=True) if w]

    @property
    def lengths(self) -> list[NDArray[np.float64]]:
        """Their squared lengths."""
        return [squares for squares, w in zip(self.squares, self.weights, strict=True) if w]

    @property
    def fingerprint(self) -> str:
        """What tells these features, weights and penalties from others."""
        return fingerprint(self.prints, self.weights, self.penalties)

    @property
    def deviation(self) -> float:
        """How far a row's length is from 1, at most."""
        return max(float(np.abs(np.sqrt(squares) - 1).max()) for squares in self.lengths)

    def weighted(self, weights: Sequence[float]) -> "Features":
        """The same features under other weights; ValueError for bad ones."""
        return replace(self, weights=checked_weights(weights, len(self.members)))

    def penalise(self, sim: NDArray[np.float32], rows: slice, cols: slice, unit: float = 1.0) -> None:
        """Take the penalties, in units of the block, off sim (B, C)."""
        for labels, amount in self.penalties:
            exact_distances.penalise(sim, rows.start, cols.start, labels, np.float32(amount * unit))

    def left(self, rows: slice) -> list[NDArray[np.float32]]:
        """Each used member's rows times its weight: what several blocks of the same rows share."""
        return [a[rows] if w == 1 else a[rows] * np.float32(w) for a, w in self.used]

    def block(self, rows: slice, cols: slice, left: Sequence[NDArray[np.float32]] | None = None) -> NDArray[np.float32]:
        """Similarities of rows to cols, (B, C), by float32 products of the rows as they are; left: of these rows."""
        pairs = zip(left or self.left(rows), self.used, strict=True)
        parts = (np.matmul(mine, a[cols].T, dtype=np.float32) for mine, (a, _) in pairs)
        out: NDArray[np.float32] = next(parts)
        for part in parts:
            out += part
        self.penalise(out, rows, cols)
        return out

    def double(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Distances of rows to cols, (B, C), by float64 products of unit rows, within `double_bound`."""
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
        """How far `double` is from the exact distances at most: n roundings of numbers of this size, in any order."""
        operations = sum(a.shape[1] + 8 for a in self.members) + 4 * len(self.penalties) + 8
        return 2 * operations * DOUBLE_ROUNDOFF * (2 * self.total + sum(amount for _, amount in self.penalties))

    def sums(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.float64]:
        """The exact distances of `pairs` before they are rounded."""
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
    """16 hex digits of features, known by their prints, of their weights and of penalties; weight 0 counts nowhere."""
    said = [f"{print_}*{w!r}" for print_, w in zip(prints, weights, strict=True) if w]
    said += [f"{hashlib.sha256(labels.tobytes()).hexdigest()}+{amount!r}" for labels, amount in penalties]
    return hashlib.sha256("|".join(said).encode()).hexdigest()[:16]


def print_of(rows: NDArray[np.uint64], dims: int) -> str:
    """A member's print, of those of its rows."""
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
class Blend:
    """d(i, j) = sum_m w_m (1 - cos_m(i, j)) + sum_p w_p D_p(i, j). largest: of any D_p, for the bound on rounding.

    Rows and columns are read as `Distances` reads them, so the sum need not be symmetric.
    """

    features: Features | None
    matrices: tuple[Distances, ...]
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
        """Similarities of rows to cols, (B, C) float32: the features' less the distances."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        out = self.features.block(rows, cols) if self.features else np.zeros(shape, np.float32)
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            out += np.float32(weight) * matrix.block(rows, cols)
        return out

    def double(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Distances of rows to cols, (B, C) float64, within `double_bound`."""
        shape = rows.stop - rows.start, cols.stop - cols.start
        out = self.features.double(rows, cols) if self.features else np.zeros(shape)
        for matrix, weight in zip(self.matrices, self.weights, strict=True):
            out += weight * matrix.double(rows, cols)
        return out

    @property
    def double_bound(self) -> float:
        """How far `double` is from the exact distances at most."""
        own = self.features.double_bound if self.features else 0.0
        return own + (2 * len(self.matrices) + 4) * 2.0**-53 * (2 * self.total + sum(self.weights) * self.largest)

    @property
    def fingerprint(self) -> str:
        """What tells this sum from others."""
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
        """The same, rounded to float32 once."""
        return self.sums(rows, indptr, index).astype(np.float32)

    @property
    def rounding(self) -> float:
        """A bound on what the additions of a block and of `pairs` err by, beside the features' own products."""
        operations = 2 * len(self.matrices) + 4
        return operations * 2.0**-24 * (2 * self.total + sum(self.weights) * self.largest)


Source = Features | Distances | Blend


def read_on_card(source: Source, device: str) -> TypeGuard[Features]:
    """Whether the device that was chosen reads this source there: matrices are read on the CPU."""
    return device == "cuda" and isinstance(source, Features)


def source_of(
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    n_jobs: int = -1,
    device: str = "cpu",
) -> Source:
    """What a caller gave, checked: equal N, unit rows, one weight a member, finite, >= 0, not all zero.

    Args:
        feats: one (N, D) array, a sequence of (N, D_m) and of distances, or a source made before, which is returned.
        weights: one a member; None is 1 each.
        penalties: (labels (N,), amount) each: amount is added to the distance of two images of one label.
        device: cuda leaves the rows' lengths to be checked there, where features may lie already.

    Raises:
        ValueError: anything else; rows that are zero, NaN or not of unit length are named.
    """
    if isinstance(feats, Features | Distances | Blend):
        if weights is not None or penalties is not None:
            raise ValueError("weights and penalties belong to features: give them where the source is made")
        return feats
    members = _members(feats)
    chosen = checked_weights(weights if weights is not None else [1.0] * len(members), len(members))
    matrices = [(a, w) for a, w in zip(members, chosen, strict=True) if isinstance(a, Distances)]
    arrays = [(_float32(a), w) for a, w in zip(members, chosen, strict=True) if not isinstance(a, Distances)]
    there = device == "cuda" and not any(w for _, w in matrices)
    features = _features(arrays, penalties, n_jobs, check=not there) if any(w for _, w in arrays) else None
    if features is None and penalties:
        raise ValueError("penalties are added to members' features, and there are none of weight above 0")
    if features is not None and not any(w for _, w in matrices):
        return features
    return blend(features, [m for m, _ in matrices], [w for _, w in matrices], n_jobs)


def _members(feats: Any) -> list[Any]:
    """One array a member: of one array, of the rows of one, or of a sequence of arrays.

    Raises:
        ValueError: there is none, or it is something else.
    """
    if isinstance(feats, str | bytes | Mapping) or not (hasattr(feats, "ndim") or isinstance(feats, Iterable)):
        raise ValueError(f"features: {type(feats).__name__} is no array: want {WANT}")
    members = [feats] if hasattr(feats, "ndim") else list(feats)
    if not members:
        raise ValueError(f"no features: give {WANT}")
    first = members[0]
    if not hasattr(feats, "ndim") and not isinstance(first, Distances) and _dimensions(first) == 1:
        return [members if isinstance(first, list | tuple) else [as_array(row, "features", WANT) for row in members]]
    return members


def _dimensions(values: Any) -> int:
    """Of an array, or of lists in lists."""
    if hasattr(values, "ndim"):
        return int(values.ndim)
    return 1 + _dimensions(values[0]) if isinstance(values, list | tuple) and values else int(isinstance(values, list))


def _features(
    given: Sequence[tuple[NDArray, float]], penalties: Penalties | None, n_jobs: int, *, check: bool
) -> Features:
    members = tuple(array for array, _ in given)
    squares, prints = [], []
    for m, member in enumerate(members):
        if member.ndim != 2 or not member.size:
            raise ValueError(f"member {m} has shape {member.shape}: want (N, D), an image a row, none of them empty")
        if len(member) != len(members[0]):
            raise ValueError(f"member {m} has shape {member.shape}: want ({len(members[0])}, D), the same N for all")
        if check:
            lengths, rows = _measured(member, m, n_jobs)
            squares.append(lengths)
            prints.append(print_of(rows, member.shape[1]))
    own = tuple(_penalty(p, len(members[0])) for p in penalties or ())
    return Features(members, tuple(w for _, w in given), own, tuple(squares), tuple(prints))


def blend(features: Features | None, matrices: Sequence[Distances], weights: Sequence[float], n_jobs: int) -> Blend:
    """The sum, its matrices of weight 0 left out.

    Raises:
        ValueError: matrices of another number of images than the features, or with NaN, infinite or negative distances.
    """
    sizes = {m.n for m in matrices} | ({features.n} if features else set())
    if len(sizes) > 1:
        raise ValueError(f"members of {sorted(sizes)} images: want the same N for all")
    kept = [(m, w) for m, w in zip(matrices, weights, strict=True) if w]
    largest = [_largest(matrix, n_jobs) for matrix in matrices]
    return Blend(features, tuple(m for m, _ in kept), tuple(w for _, w in kept), max(largest))


def _largest(matrix: Distances, n_jobs: int) -> float:
    def work(rows: slice) -> float:
        return float(-matrix.block(rows, slice(0, matrix.n)).min())

    return max(over_rows(work, matrix.n, n_jobs, most=256))


def checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """The weights as numbers; ValueError unless one a member, finite, >= 0, one above 0."""
    chosen = tuple(float(w) for w in weights)
    if len(chosen) != members:
        raise ValueError(f"{len(chosen)} weights for {members} members: give one a member")
    if not all(np.isfinite(w) and w >= 0 for w in chosen) or not sum(chosen) > 0:
        raise ValueError(f"weights {chosen}: each must be finite and >= 0, and one at least above 0")
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
    """Squared lengths and prints of a member's rows; ValueError where one is not of unit length."""
    parts = over_rows(lambda rows: exact_distances.measured(feats, rows.start, rows.stop), len(feats), n_jobs)
    squares, prints = (np.concatenate(column) for column in zip(*parts, strict=True))
    norm = np.sqrt(squares)
    bad = np.flatnonzero(~(np.abs(norm - 1) <= exact_distances.UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(f"member {member}: {exact_distances.not_unit(bad, norm)}")
    return squares, prints
