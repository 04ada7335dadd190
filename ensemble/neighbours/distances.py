"""Precomputed distance matrices, used instead of features."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DistanceMatrices:
    """Precomputed distances >= 0, as arrays or memory maps.

    They are read as the matrix [[qq, qg], [qg^T, gg]], as in the published port of k-reciprocal re-ranking.

    Attributes:
        qq: (Q, Q) query to query.
        qg: (Q, G) query to gallery.
        gg: (G, G) gallery to gallery.
    """

    qq: NDArray
    qg: NDArray
    gg: NDArray

    def __post_init__(self) -> None:
        (q, g), square = self.qg.shape, (self.qq.shape, self.gg.shape)
        if square != ((q, q), (g, g)):
            raise ValueError(
                f"qq, qg and gg have shapes {square[0]}, {(q, g)}, {square[1]}: want (Q, Q), (Q, G), (G, G)"
            )

    @property
    def n(self) -> int:
        return sum(self.qg.shape)

    def __len__(self) -> int:
        return self.n

    @property
    def shape(self) -> tuple[int, int]:
        """(N, 0): one row per image, no features."""
        return self.n, 0

    @property
    def total(self) -> float:
        return 0.0

    @property
    def symmetric(self) -> bool:
        return False

    def _read(self, rows: Any, cols: Any, row_query: bool, col_query: bool) -> NDArray:
        q = self.qg.shape[0]
        if row_query:
            return self.qq[rows, cols] if col_query else self.qg[rows, _moved(cols, q)]
        rows = _moved(rows, q)
        return self.qg[cols, rows].T if col_query else self.gg[rows, _moved(cols, q)]

    def double(self, rows: slice, cols: slice) -> NDArray[np.float64]:
        """Distances of rows to cols, (B, C) float64. Values that rounding left below 0 become 0.

        Raises:
            ValueError: a NaN, infinite or negative distance.
        """
        q, out = self.qg.shape[0], np.empty((rows.stop - rows.start, cols.stop - cols.start))
        for r in _sides(rows, q):
            for c in _sides(cols, q):
                part = self._read(r, c, r.start < q, c.start < q)
                out[_moved(r, rows.start), _moved(c, cols.start)] = part
        if not (out >= -self.rounding).all() or not np.isfinite(out).all():
            bad = out[~(np.isfinite(out) & (out >= -self.rounding))]
            raise ValueError(
                f"distances of rows {rows.start}..{rows.stop - 1} hold {bad.size} NaN, infinite or negative values, "
                f"the first {bad[0]:.4g}; want 0 or more ({-self.rounding:g} or more is accepted as rounding)"
            )
        return np.maximum(out, 0, out=out)

    @property
    def rounding(self) -> float:
        """How far below 0 a distance may be by rounding. `1 - x @ x.T` in float32 gives about -1e-7."""
        return 1e-2 if any(a.dtype == np.float16 for a in (self.qq, self.qg, self.gg)) else 1e-5

    @property
    def double_bound(self) -> float:
        return 0.0

    @property
    def fingerprint(self) -> str:
        """A hash of the shape and of some rows."""
        some = [a[[0, -1]] for a in (self.qq, self.qg, self.gg) if len(a)]
        return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in some)).hexdigest()[:16]

    def block(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Negated distances of rows to cols, (B, C) float32. Errors as in `double`."""
        return -self.double(rows, cols).astype(np.float32)

    def sums(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.float64]:
        """Distances from image rows[i] to each of index[indptr[i]:indptr[i + 1]], (nnz,) float64."""
        q, left = self.qg.shape[0], np.repeat(rows, np.diff(indptr))
        out = np.empty(index.size)
        for row_query in (True, False):
            for col_query in (True, False):
                at = np.flatnonzero(((left < q) == row_query) & ((index < q) == col_query))
                out[at] = self._read(left[at], index[at], row_query, col_query)
        return np.maximum(out, 0, out=out)

    def pairs(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray:
        """`sums` in float32."""
        return self.sums(rows, indptr, index).astype(np.float32)


def _moved(where: Any, by: int) -> Any:
    return slice(where.start - by, where.stop - by) if isinstance(where, slice) else where - by


def _sides(span: slice, n_query: int) -> list[slice]:
    """Split a slice of images into its query part and its gallery part."""
    parts = slice(span.start, min(span.stop, n_query)), slice(max(span.start, n_query), span.stop)
    return [p for p in parts if p.start < p.stop]


Feats = NDArray[np.float32] | DistanceMatrices  # one member: (N, D) unit rows, or distances
