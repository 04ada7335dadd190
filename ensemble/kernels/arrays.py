"""What callers hand over as an array: lists, NumPy arrays, tensors of any device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(values: Any, name: str, want: str) -> NDArray[Any]:
    """A list, a NumPy array or a tensor of any device, as a NumPy array; one that is an array already is not copied.

    Raises:
        ValueError: its rows are of different lengths, some of it is masked, or it is no array at all.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name}: a masked array; fill what is masked, want {want}")
    if isinstance(values, np.memmap):  # it stays one: workers open its file
        return values
    try:
        if hasattr(values, "detach"):
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values  # NumPy has no such numbers
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as e:
        raise ValueError(f"{name}: {type(values).__name__} is no array of one shape: want {want}") from e
