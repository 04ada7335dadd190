"""Distance matrices that somebody else computed, in the place of features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Distances:
    """Distances computed elsewhere, non-negative: qq (Q, Q), qg (Q, G), gg (G, G), arrays or memory maps.

    Row i of the whole is read as the published port reads it: the matrix [[qq, qg], [qg^T, gg]].
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
        """(N, 0): as many rows as images, and no features."""
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

    def block(self, rows: slice, cols: slice) -> NDArray[np.float32]:
        """Minus the distances of rows to cols, (B, C) float32. Raises ValueError for a NaN or negative distance."""
        q, out = self.qg.shape[0], np.empty((rows.stop - rows.start, cols.stop - cols.start), np.float32)
        for r in _sides(rows, q):
            for c in _sides(cols, q):
                part = self._read(r, c, r.start < q, c.start < q)
                out[_moved(r, rows.start), _moved(c, cols.start)] = part
        if not (out >= 0).all() or not np.isfinite(out).all():
            raise ValueError(f"distances of rows {rows.start}..{rows.stop - 1} hold NaN, infinite or negative values")
        return np.negative(out, out=out)

    def pairs(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray:
        """Minus the distances of image rows[i] to each of index[indptr[i]:indptr[i + 1]], (nnz,) float32."""
        q, left = self.qg.shape[0], np.repeat(rows, np.diff(indptr))
        out = np.empty(index.size, np.float32)
        for row_query in (True, False):
            for col_query in (True, False):
                at = np.flatnonzero(((left < q) == row_query) & ((index < q) == col_query))
                out[at] = self._read(left[at], index[at], row_query, col_query)
        return np.negative(out, out=out)


def _moved(where: Any, by: int) -> Any:
    return slice(where.start - by, where.stop - by) if isinstance(where, slice) else where - by


def _sides(span: slice, n_query: int) -> list[slice]:
    """The parts of a slice of images that are queries and gallery."""
    parts = slice(span.start, min(span.stop, n_query)), slice(max(span.start, n_query), span.stop)
    return [p for p in parts if p.start < p.stop]


Feats = NDArray[np.float32] | Distances  # of one member: (N, D) unit rows, or the distances that stand for them
