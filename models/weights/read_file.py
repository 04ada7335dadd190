"""Read a weights file as named tensors. No code in it is run, and only plain numbers are accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from configs.errors import WeightsError

DEEPEST = 8  # maximum depth of nested dicts
UNPACKED = 4  # maximum size in memory, in sizes of the file; tensors are not compressed


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Every tensor of a file under its dotted name.

    Raises:
        WeightsError: the file cannot be read, would run code, or contains something else than plain numbers.
    """
    most = UNPACKED * path.stat().st_size
    try:
        if path.suffix == ".safetensors":
            return _tensors(load_safetensors(path.read_bytes()), str(path), most)
        return _tensors(torch.load(path, map_location="cpu", weights_only=True), str(path), most)
    except WeightsError:
        raise
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path}: cannot be read ({e})") from e
    except Exception as e:  # torch.load can raise any error on bad bytes; all mean the same here
        raise WeightsError(f"{path}: not a plain file of weights ({_reason(e)})") from e


def _reason(error: Exception) -> str:
    """Why a file cannot be read. torch's own message advises unsafe unpickling and is not repeated."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError | ValueError) and "pickle" not in text.lower():
        return text[:300]
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if found is None:
        return "torch.save did not write it, or it is damaged"
    return f"it holds {found[1]}, and Python objects are never unpickled: have a state_dict saved, without the model"


def _tensors(loaded: Any, source: str, most: int) -> Mapping[str, Tensor]:
    """The tensors inside, whatever they are wrapped in: `{"state_dict": {"fc.bias": t}}` has `state_dict.fc.bias`.

    Args:
        most: maximum bytes of its tensors. A view can expand one stored number to terabytes.
    """
    named = dict(_named(loaded)) if isinstance(loaded, Mapping) else {}
    if not named:
        raise WeightsError(f"{source}: holds no state dict of tensors")
    tensors = list(named.values())
    if any(v.layout != torch.strided or v.is_quantized or v.is_complex() or v.device.type != "cpu" for v in tensors):
        raise WeightsError(f"{source}: holds tensors that are not plain arrays of numbers")
    if sum(v.numel() * v.element_size() for v in tensors) > most:
        raise WeightsError(
            f"{source}: its tensors would take more than {most:,} bytes; a file of weights is not packed"
        )
    broken = [k for k, v in named.items() if not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"{source}: {len(broken)} of its tensors hold NaN or infinite numbers, first {broken[0]!r}")
    return {
        k: v.detach().clone(memory_format=torch.contiguous_format)  # two names may share one tensor
        for k, v in named.items()
        if "num_batches" not in k
    }


def _named(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dicts, by its dotted name. An optimizer's tensors have integer keys and are skipped."""
    levels: list[tuple[str, Mapping[Any, Any]]] = [("", loaded)]
    seen = {id(loaded)}  # a pickle may hold a dict in itself
    for _ in range(DEEPEST):
        below = []
        for before, level in levels:
            for key, value in level.items():
                if isinstance(key, str) and isinstance(value, Tensor):
                    yield before + key, value
                elif isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    below.append((f"{before}{key}.", value))
        levels = below
