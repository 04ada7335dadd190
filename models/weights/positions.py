"""Position embeddings of another grid: the backbone takes the file's grid first, and is resampled once later."""

from __future__ import annotations

import warnings
from math import log
from typing import Any

from torch import Tensor, nn

from configs.errors import WeightsError

POSITIONS = "pos_embed"
ASPECT = 2.0  # height / width of people, to choose between several grids


def lay_out_as(backbone: nn.Module, positions: Tensor, grid: tuple[int, int] | None) -> str:
    """Set a transformer's grid to that of a file's position embeddings (..., positions and tokens, C).

    `Net.resize` sets the member's own size later. So the embeddings are resampled only once.

    Args:
        grid: rows and columns of the file; None: as `grid_of` gives.

    Returns:
        A remark for the report; empty if the grid is the backbone's own, or the backbone has none.

    Raises:
        WeightsError: the grid has another number of positions.
    """
    embed: Any = getattr(backbone, "patch_embed", None)
    own: Any = getattr(backbone, POSITIONS, None)
    if not hasattr(backbone, "set_input_size") or own is None or own.ndim != 3 or not hasattr(embed, "grid_size"):
        return ""
    tokens = own.shape[1] - embed.grid_size[0] * embed.grid_size[1]
    places = positions.shape[-2] - tokens if positions.ndim > 1 else 0
    if places < 1 or positions.shape[-1] != own.shape[-1] or (grid is None and positions.shape[-2] == own.shape[1]):
        return ""
    rows, columns = grid or grid_of(places)
    if rows * columns != places:
        raise WeightsError(f"weights.grid is {rows}x{columns}; the file has {places} places")
    size = rows * embed.patch_size[0], columns * embed.patch_size[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone.set_input_size(img_size=size)  # type: ignore[operator]
    return f"positions of a grid of {rows}x{columns}, resampled to the member's"


def grid_of(places: int) -> tuple[int, int]:
    """Rows and columns: a square if possible, else the grid nearest to twice as high as wide, as images of people."""
    pairs = [(rows, places // rows) for rows in range(1, places + 1) if places % rows == 0]
    square = [pair for pair in pairs if pair[0] == pair[1]]
    return (
        square[0] if square else min(pairs, key=lambda pair: (round(abs(log(pair[0] / pair[1] / ASPECT)), 6), -pair[0]))
    )
