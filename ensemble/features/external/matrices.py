"""Distances from outside, put into the data set's order and kept as they are; nothing but a block is in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.store.atomic_files import room_for
from ensemble.features.external.given import Matrices
from ensemble.features.feature_bank import MATRICES, save_names

BLOCK = 512  # rows at a time


def save_matrices(
    folder: Path,
    given: Matrices,
    query_rows: NDArray[np.intp],
    gallery_rows: NDArray[np.intp],
    query_names: Sequence[str],
    gallery_names: Sequence[str],
) -> None:
    """Write qq, qg and gg (float32) with rows and columns in the data set's order.

    Raises:
        DataError: a distance is NaN, infinite or negative, or most images are farthest from themselves.
    """
    sides = {"q": (query_rows, query_names), "g": (gallery_rows, gallery_names)}
    for key in MATRICES:
        (rows, names), (cols, _) = sides[key[0]], sides[key[1]]
        _write(folder / f"{key}.npy", getattr(given, key), rows, cols, names, square=key[0] == key[1])
    save_names(folder, query_names, gallery_names)


def _write(
    path: Path, matrix: NDArray, rows: NDArray[np.intp], cols: NDArray[np.intp], names: Sequence[str], square: bool
) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), len(cols))}
    farthest = 0
    with room_for(path, 4 * len(rows) * len(cols)), open(path, "wb") as f:
        np.lib.format.write_array_header_1_0(f, header)
        for start in range(0, len(rows), BLOCK):
            part = np.asarray(matrix[rows[start : start + BLOCK]][:, cols], np.float32)
            wrong = ~(np.isfinite(part) & (part >= 0)).all(axis=1)
            if wrong.any():
                name = names[start + int(np.flatnonzero(wrong)[0])]
                raise DataError(f"{path.name}: distances of {name!r} are NaN, infinite or negative; wanted 0 or more")
            if square:
                own = part[np.arange(len(part)), start + np.arange(len(part))]
                farthest += int(((own >= part.max(axis=1)) & (own > part.min(axis=1))).sum())
            f.write(np.ascontiguousarray(part, "<f4").tobytes())
    if farthest > len(rows) / 2:
        raise DataError(
            f"{path.name}: {farthest:,} of {len(rows):,} images are farthest from themselves: these look like "
            "similarities; give distances, such as 1 - similarity"
        )
