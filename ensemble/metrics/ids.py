"""Identities and cameras as they come, numbers or text, in any kind of array; as whole numbers they go on.

Unknown is whatever is below 0, NaN, None, an empty text or the text "-1".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.arrays import as_array

UNKNOWN = -1
Ints = NDArray[np.int64]


def as_numbers(query: Any, gallery: Any, what: str) -> tuple[Ints, Ints]:
    """Ids of both sides, (Q,) and (G,): equal where the ids are equal, -1 where unknown.

    Args:
        what: `identities` or `cameras`, for a sentence.

    Raises:
        ValueError: something is no id, or one side has texts and the other numbers.
    """
    sides = {f"query {what}": query, f"gallery {what}": gallery}
    arrays = {name: _column(values, name) for name, values in sides.items()}
    if all(array.dtype.kind == "i" for array in arrays.values()):
        one, other = (np.maximum(array, UNKNOWN).astype(np.int64) for array in arrays.values())
        return one, other
    columns = {name: [_plain(x) for x in array.tolist()] for name, array in arrays.items()}
    kinds = {name: {_kind(x, name) for x in column} - {None} for name, column in columns.items()}
    found = set().union(*kinds.values())
    if len(found) > 1:
        told = "; ".join(f"{name} are {' and '.join(sorted(map(str, kind)))}" for name, kind in kinds.items() if kind)
        raise ValueError(f"{told}: one id must be written in one way, as text everywhere or as a number everywhere")
    texts = sorted({x for column in columns.values() for x in column if isinstance(x, str)})
    number = {text: i for i, text in enumerate(texts)}
    one, other = (np.array([_number(x, number) for x in column], np.int64) for column in columns.values())
    return one, other


def _column(values: Any, name: str) -> NDArray[Any]:
    """One id an image."""
    array = as_array(values, name, "(N,), one an image")
    if array.size != max(array.shape, default=0):
        raise ValueError(f"{name}: shape {array.shape}: want (N,), one an image")
    return array.ravel()


def _plain(value: Any) -> Any:
    """None where nobody told, bytes as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return None if value in ("", "-1") or (isinstance(value, float) and math.isnan(value)) else value


def _kind(value: Any, name: str) -> str | None:
    """`text` or `numbers`; None of what nobody told.

    Raises:
        ValueError: it is no id.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise ValueError(f"{name}: {value!r} is no id: want whole numbers or text, one an image")
    if value >= 2**63:
        raise ValueError(f"{name}: {value!r} is more than 64 bits hold; give such ids as text")
    return "numbers"


def _number(value: Any, number: dict[str, int]) -> int:
    if isinstance(value, str):
        return number[value]
    return UNKNOWN if value is None else max(UNKNOWN, int(value))
