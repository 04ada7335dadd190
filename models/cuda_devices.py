"""The CUDA devices that this process sees, for worker processes that each see one of them."""

from __future__ import annotations

import os

import torch


def cards(device: str) -> tuple[str, ...]:
    """For each CUDA device the CUDA_VISIBLE_DEVICES of a process that is to see it alone; none where device is cpu."""
    count = torch.cuda.device_count() if device == "cuda" else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in named.split(",")] if named else [str(i) for i in range(count)]
    return tuple(names[:count])


def free_bytes() -> int:
    """Bytes of memory that are free on the current CUDA device."""
    return int(torch.cuda.mem_get_info()[0])


def out_of_memory(error: Exception) -> bool:
    """Whether a device had no room for a tensor."""
    return isinstance(error, torch.OutOfMemoryError)
