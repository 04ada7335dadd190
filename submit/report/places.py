"""Where some images stand in one query's list, without sorting their names: by counting what is nearer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def places(row: NDArray[np.float32], ranked: NDArray[np.float32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Ranks from 1, ties by lower index.

    Args:
        row: (G,) distances of one query. ranked: (G,) the same, sorted.
        columns: (k,) gallery rows to place.
    """
    value = row[columns]
    nearer = np.searchsorted(ranked, value, side="left")
    tied = np.flatnonzero(np.searchsorted(ranked, value, side="right") - nearer > 1)
    for at in tied:
        nearer[at] += np.count_nonzero(row[: columns[at]] == value[at])
    result: NDArray[np.int32] = (nearer + 1).astype(np.int32)
    return result
