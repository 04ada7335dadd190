"""Sparse rows of V, the encoding of each image by the images around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
