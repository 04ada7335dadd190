"""Gallery images that are in no list of a query: the query's own image, and images of its sequence.

Rows of distances hold infinity for them; ranked lists do not hold them, and end in -1 where nothing is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]
ITSELF, SAME_SEQUENCE = "itself", "same_sequence"


@dataclass(frozen=True)
class Union:
    """The images of N rows, queries first, where a query may be a gallery image too: each image once.

    Attributes:
        rows: the U rows that stand for the images: queries that are not in the gallery, then the gallery.
        place: (N,) image of each row, 0..U-1.
    """

    rows: slice | Ints
    place: Ints

    @property
    def n(self) -> int:
        """U."""
        return int(self.place.max()) + 1


@dataclass(frozen=True)
class LeftOut:
    """The images that the lists of Q queries leave out, of a gallery of G.

    Attributes:
        own: (Q,) gallery row of each query's own image, -1 for none.
        indptr, index: query i leaves out index[indptr[i]:indptr[i + 1]], ascending; its own image is among them.
        n_gallery: G.
        rules: `itself`, `same_sequence`, or both.
    """

    own: Ints
    indptr: Ints
    index: Ints
    n_gallery: int
    rules: tuple[str, ...]

    @property
    def n_query(self) -> int:
        return len(self.own)

    @property
    def overlaps(self) -> bool:
        """Whether a query is a gallery image."""
        return bool((self.own >= 0).any())

    @property
    def counts(self) -> Ints:
        """(Q,) images left out."""
        return np.diff(self.indptr)

    @property
    def most(self) -> int:
        """The most images that a query leaves out."""
        return int(self.counts.max(initial=0))

    @cached_property
    def keys(self) -> Ints:
        """query * G + gallery row of every pair left out, ascending."""
        out: Ints = np.repeat(np.arange(self.n_query), self.counts) * self.n_gallery + self.index
        return out

    def length(self, top_k: int | None) -> int:
        """Length of the longest list, at most top_k; 1 if all are empty."""
        there = max(1, self.n_gallery - int(self.counts.min()))
        return there if top_k is None else min(top_k, there)

    def among(self, query: Ints, gallery: NDArray) -> NDArray[np.bool_]:
        """Whether these pairs are left out, one a query and gallery row."""
        if not self.keys.size:
            return np.zeros(np.broadcast(query, gallery).shape, bool)
        wanted = query * self.n_gallery + gallery.astype(np.int64)
        at = np.minimum(np.searchsorted(self.keys, wanted), self.keys.size - 1)
        found: NDArray[np.bool_] = (self.keys[at] == wanted) & (gallery >= 0)
        return found

    def pairs(self, rows: slice) -> tuple[Ints, Ints]:
        """Rows, counted from rows.start, and columns to leave out of a block of distances."""
        some = slice(self.indptr[rows.start], self.indptr[rows.stop])
        return np.repeat(np.arange(rows.stop - rows.start), self.counts[rows]), self.index[some]

    def drop(self, order: NDArray[np.int32], dist: NDArray[np.float32], top_k: int | None) -> Ranked:
        """Lists without the images that are left out, cut to top_k. Short lists end in -1 and infinity."""
        out = self.among(np.arange(len(order))[:, None], order)
        keep = np.argsort(out, axis=1, kind="stable")[:, : self.length(top_k)]
        gone = np.take_along_axis(out, keep, 1)
        images, values = np.take_along_axis(order, keep, 1), np.take_along_axis(dist, keep, 1)
        return np.where(gone, np.int32(-1), images), np.where(gone, np.float32(np.inf), values)

    def closed(self, order: NDArray[np.int32], first: int) -> NDArray[np.int32]:
        """Lists of queries first.. without the images that are left out, each with as many -1 at its end."""
        out = self.among(np.arange(first, first + len(order))[:, None], order) | (order < 0)
        keep = np.argsort(out, axis=1, kind="stable")
        return np.where(np.take_along_axis(out, keep, 1), np.int32(-1), np.take_along_axis(order, keep, 1))

    def take(self, queries: ArrayLike) -> LeftOut:
        """The same of some queries."""
        rows = np.asarray(queries, np.intp)
        counts = self.counts[rows]
        begins = np.cumsum(counts) - counts
        at = np.repeat(self.indptr[:-1][rows] - begins, counts) + np.arange(counts.sum())
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return LeftOut(self.own[rows], indptr, self.index[at], self.n_gallery, self.rules)

    def union(self, n: int) -> Union:
        """The images of N rows, each once."""
        n_query = self.n_query
        if n - n_query != self.n_gallery:
            raise ValueError(f"{n} images for {n_query} queries and {self.n_gallery} gallery images")
        alone = np.flatnonzero(self.own < 0)
        place = np.arange(n) - n_query + alone.size
        place[:n_query] = self.own + alone.size
        place[alone] = np.arange(alone.size)
        return Union(np.concatenate([alone, np.arange(n_query, n)]) if alone.size else slice(n_query, n), place)


def leave_out(
    n_query: int,
    n_gallery: int,
    own: ArrayLike | None = None,
    sequences: tuple[ArrayLike, ArrayLike] | None = None,
) -> LeftOut | None:
    """What is left out of the queries' lists; None for nothing.

    Args:
        own: (Q,) gallery row of each query's own image, -1 for none.
        sequences: of queries (Q,) and gallery (G,), below 0 for unknown. An unknown sequence is that of no other image.

    Raises:
        ValueError: other lengths, a row that is not in the gallery, or one image of two queries.
    """
    rows = np.full(n_query, -1) if own is None else np.asarray(own, np.int64)
    known = rows[rows >= 0]
    if rows.shape != (n_query,) or (rows < -1).any() or (rows >= n_gallery).any():
        raise ValueError(f"own has shape {rows.shape}: want ({n_query},) gallery rows 0..{n_gallery - 1}, -1 for none")
    if np.unique(known).size < known.size:
        raise ValueError("own: two queries are the same gallery image; list each query once")
    query, gallery = [np.flatnonzero(rows >= 0)], [known]
    if sequences is not None:
        asked, there = (np.asarray(side, np.int64) for side in sequences)
        if asked.shape != (n_query,) or there.shape != (n_gallery,):
            shapes = asked.shape, there.shape
            raise ValueError(f"sequences have shapes {shapes}: want ({n_query},) and ({n_gallery},)")
        for_query, of_gallery = _same(asked, there)
        query, gallery = [*query, for_query], [*gallery, of_gallery]
    keys = np.unique(np.concatenate(query) * n_gallery + np.concatenate(gallery))
    if not keys.size:
        return None
    index, counts = keys % n_gallery, np.bincount(keys // n_gallery, minlength=n_query)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    held = ((ITSELF, known.size), (SAME_SEQUENCE, sequences is not None and query[-1].size))
    return LeftOut(rows, indptr, index, n_gallery, tuple(rule for rule, there in held if there))


def _same(asked: Ints, there: Ints) -> tuple[Ints, Ints]:
    """All pairs (query, gallery row) of one known sequence."""
    order = np.argsort(there, kind="stable")
    low, high = (np.searchsorted(there[order], asked, side) for side in ("left", "right"))
    counts = np.where(asked >= 0, high - low, 0)
    begins = np.cumsum(counts) - counts
    at = np.repeat(low - begins, counts) + np.arange(counts.sum())
    return np.repeat(np.arange(asked.size), counts), order[at]
