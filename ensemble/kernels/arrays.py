"""Convert arguments to arrays: lists, NumPy arrays, tensors on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(values: Any, name: str, want: str) -> NDArray[Any]:
    """A list, a NumPy array or a tensor on any device as a NumPy array. NumPy arrays are not copied.

    Raises:
        ValueError: rows of different lengths, a masked array, or not an array.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name}: a masked array: fill the masked values, want {want}")
    if isinstance(values, np.memmap):  # stays a memory map: workers open its file
        return values
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values  # NumPy has no bfloat16
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as e:
        raise ValueError(f"{name}: {type(values).__name__} is not an array of one shape: want {want}") from e
