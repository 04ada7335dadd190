"""Features and distance matrices in one sum: members of one's own beside matrices that other code computed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.distances import Distances

if TYPE_CHECKING:
    from ensemble.neighbours.similarity import Features


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
