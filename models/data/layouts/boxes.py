"""Boxes of a table's rows: columns `x_1,y_1,x_2,y_2`, two corners, or `bbox`, `[x, y, width, height]` as in COCO."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from configs.errors import DataError
from models.data.crop import Box

CORNERS = ("x_1", "y_1", "x_2", "y_2")
BBOX = "bbox"
BOXES = (*CORNERS, BBOX)
NONE = {"", "nan", "none", "null"}


def read_box(row: Mapping[str, str], where: str) -> Box | None:
    """The box of a row, rounded outward to whole pixels; None if its columns are empty or missing.

    Raises:
        DataError: some of its numbers are missing or no numbers, or it has no area.
    """
    corners = [row.get(column, "") for column in CORNERS]
    given = [text for text in corners if text.lower() not in NONE]
    text = row.get(BBOX, "")
    if text.lower() not in NONE:
        if given:
            raise DataError(f"{where}: a bbox and {', '.join(CORNERS)}; give one of them")
        x, y, width, height = _numbers(re.split(r"[\s,;]+", text.strip("[]() ")), where, f"{BBOX} {text!r}")
        sides = (x, y, x + width, y + height)
    elif given:
        sides = _numbers(corners, where, f"{', '.join(CORNERS)} are {', '.join(corners)}")
    else:
        return None
    box = math.floor(sides[0]), math.floor(sides[1]), math.ceil(sides[2]), math.ceil(sides[3])
    if box[0] >= box[2] or box[1] >= box[3]:
        raise DataError(
            f"{where}: the box {box} has no area; wanted left, upper, right, lower, or [x, y, width, height]"
        )
    return box


def _numbers(texts: list[str], where: str, told: str) -> tuple[float, float, float, float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: {told}; a box is four numbers")
    return numbers[0], numbers[1], numbers[2], numbers[3]
