"""Sparse rows of V, the encoding of each image by the images around it, and their overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import reciprocal_sets


@dataclass(frozen=True)
class Sparse:
    """Sparse V: row i has members[indptr[i]:indptr[i + 1]] and their weights, in units of 1 / `reciprocal_sets.UNIT`.

    Here members are images.
    """

    indptr: NDArray[np.int64]
    members: NDArray[np.int32]
    weights: NDArray[np.uint32]

    def take(self, rows: NDArray[np.int64]) -> Sparse:
        """These rows, in this order."""
        counts = np.diff(self.indptr)[rows]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        at = np.repeat(self.indptr[:-1][rows] - indptr[:-1], counts) + np.arange(indptr[-1])
        return Sparse(indptr, self.members[at], self.weights[at])


def joined(parts: list[tuple[NDArray, NDArray, NDArray]]) -> Sparse:
    """Consecutive ranges of rows as one."""
    lengths = np.concatenate([np.diff(indptr) for indptr, _, _ in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sparse(indptr, np.concatenate([m for _, m, _ in parts]), np.concatenate([w for _, _, w in parts]))


class Overlap:
    """Overlaps t of queries with gallery images: sums of the smaller weights, where not zero."""

    def __init__(self, v: Sparse, n_query: int) -> None:
        self.v, self.n_gallery = v, len(v.indptr) - 1 - n_query
        self.inverse = reciprocal_sets.inverted(v.indptr, v.members, v.weights, n_query)

    def of(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(indptr (b + 1,), gallery (nnz,), t (nnz,))."""
        v = self.v
        return reciprocal_sets.overlap(
            v.indptr, v.members, v.weights, *self.inverse, self.n_gallery, rows.start, rows.stop
        )
