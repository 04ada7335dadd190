"""CUDA devices that this process sees, one for each worker process."""

from __future__ import annotations

import os

import torch


def cards(device: str) -> tuple[str, ...]:
    """CUDA_VISIBLE_DEVICES for processes that see one CUDA device each. Empty if `device` is not cuda."""
    count = torch.cuda.device_count() if device == "cuda" else 0
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in named.split(",")] if named else [str(i) for i in range(count)]
    return tuple(names[:count])


def free_bytes() -> int:
    """Free bytes of memory on the current CUDA device."""
    return int(torch.cuda.mem_get_info()[0])


def out_of_memory(error: Exception) -> bool:
    """Whether the error is torch's out-of-memory error."""
    return isinstance(error, torch.OutOfMemoryError)
