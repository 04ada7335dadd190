"""What a file from outside holds once it is read: rows of features with their names, or three matrices of distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Rows:
    """side: query, gallery, or "" for both in one. names: one a row. feats: (N, D), as they came.

    names is None where the file has none; then pids and camids, if it has those, tell which images they may be.
    """

    side: str
    names: tuple[str, ...] | None
    feats: NDArray
    pids: NDArray[np.int64] | None = None
    camids: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Matrices:
    """Distances qq (Q, Q), qg (Q, G) and gg (G, G) in the order of these names; memory maps."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    qq: NDArray
    qg: NDArray
    gg: NDArray


Given = tuple[Rows, ...] | Matrices
