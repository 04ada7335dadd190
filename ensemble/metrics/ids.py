"""Convert identities and cameras, numbers or text in any kind of array, to integers.

Unknown ids are: below 0, NaN, None, an empty text, or the text "-1".
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
    """Integer ids of both sides, (Q,) and (G,): equal for equal ids, -1 for unknown.

    Args:
        query: Q ids.
        gallery: G ids.
        what: `identities` or `cameras`, for error messages.

    Raises:
        ValueError: a value is not an id, or text and numbers are mixed.
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
        raise ValueError(f"{told}: write all ids as text, or all as numbers")
    texts = sorted({x for column in columns.values() for x in column if isinstance(x, str)})
    number = {text: i for i, text in enumerate(texts)}
    one, other = (np.array([_number(x, number) for x in column], np.int64) for column in columns.values())
    return one, other


def _column(values: Any, name: str) -> NDArray[Any]:
    """(N,) ids, one per image."""
    array = as_array(values, name, "(N,), one per image")
    if array.size != max(array.shape, default=0):
        raise ValueError(f"{name}: shape {array.shape}: want (N,), one per image")
    return array.ravel()


def _plain(value: Any) -> Any:
    """None for an unknown id, bytes as text."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return None if value in ("", "-1") or (isinstance(value, float) and math.isnan(value)) else value


def _kind(value: Any, name: str) -> str | None:
    """`text` or `numbers`; None for an unknown id.

    Raises:
        ValueError: it is not an id.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise ValueError(f"{name}: {value!r} is not an id: want whole numbers or text, one per image")
    if value >= 2**63:
        raise ValueError(f"{name}: {value!r} does not fit in 64 bits: give such ids as text")
    return "numbers"


def _number(value: Any, number: dict[str, int]) -> int:
    if isinstance(value, str):
        return number[value]
    return UNKNOWN if value is None else max(UNKNOWN, int(value))
