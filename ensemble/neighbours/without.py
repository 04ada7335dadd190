"""Streams of distances with infinity where an image is left out of the query's list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.left_out import LeftOut

if TYPE_CHECKING:
    from ensemble.neighbours.distance_blocks import Block, Near, Rows

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Without:
    """Rows with infinity where an image is left out of the query's list."""

    rows: Rows
    left_out: LeftOut

    @property
    def n_query(self) -> int:
        return self.rows.n_query

    @property
    def n_gallery(self) -> int:
        return self.rows.n_gallery

    def exact(self, rows: slice) -> Floats:
        """See `Rows`."""
        dist = self.rows.exact(rows)
        dist[self.left_out.pairs(rows)] = np.inf
        return dist

    def near(self, rows: slice) -> Near:
        """See `Rows`."""
        near = self.rows.near(rows)
        near.dist[self.left_out.pairs(rows)] = np.inf
        ids = np.arange(rows.start, rows.stop)

        def pairs(indptr: NDArray[np.int64], index: NDArray[np.int32]) -> Floats:
            dist = near.pairs(indptr, index)
            dist[self.left_out.among(np.repeat(ids, np.diff(indptr)), index)] = np.inf
            return dist

        return replace(near, pairs=pairs)


def without(stream: Iterable[Block], left_out: LeftOut | None) -> Iterable[Block]:
    """The same distances, with infinity where an image is left out of the query's list.

    Raises:
        ValueError: a stream of another shape.
    """
    if left_out is None:
        return stream
    there = getattr(stream, "without", None)
    if there is None:
        return (_filled(rows, dist, left_out) for rows, dist in stream)
    shape = stream.n_query, stream.n_gallery  # type: ignore[attr-defined]
    if shape != (left_out.n_query, left_out.n_gallery):
        wanted = left_out.n_query, left_out.n_gallery
        raise ValueError(f"the stream holds {shape} distances, and the images to leave out are of {wanted}")
    changed: Iterable[Block] = there(left_out)
    return changed


def _filled(rows: slice, dist: Floats, left_out: LeftOut) -> Block:
    out = np.array(dist, np.float32)
    out[left_out.pairs(rows)] = np.inf
    return rows, out
