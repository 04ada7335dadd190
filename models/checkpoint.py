"""What a killed training goes on from: weights, what the losses learned, optimizer and epoch, replaced in one step.

The random state needs no keeping: every random choice is a function of (seed, epoch, place).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.artifact import RESUME, file_digest, write_text

STATE = "state.json"


def save_checkpoint(
    folder: Path, epoch: int, net: nn.Module, optimizer: Optimizer, scaler: Any, losses: nn.Module | None = None
) -> None:
    """Keep the state after `epoch` epochs under `folder/resume/`; the previous one stands until this one is on disk."""
    resume = folder / RESUME
    resume.mkdir(exist_ok=True)
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"losses.{k}": v for k, v in losses.state_dict().items()} if losses else {}
    groups = optimizer.state_dict()
    for i, slots in groups["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in slots.items()}
    path = resume / f"epoch-{epoch}.safetensors"
    write_flushed(path, save_safetensors({k: v.contiguous() for k, v in tensors.items()}))
    state = {"epoch": epoch, "file": path.name, "sha256": file_digest(path), "scaler": scaler.state_dict()}
    write_text(resume / STATE, json.dumps(state))
    for old in resume.glob("*.safetensors"):
        if old != path:
            old.unlink()


def load_checkpoint(
    folder: Path,
    net: nn.Module,
    optimizer: Optimizer,
    scaler: Any,
    losses: nn.Module | None = None,
    *,
    say: Callable[[str], None] = print,
) -> int:
    """Put the kept state back, if there is a whole one; a damaged one is said, and training starts over.

    Returns:
        the number of epochs done, 0 for none.
    """
    if not (folder / RESUME / STATE).exists():
        return 0
    try:
        state = json.loads((folder / RESUME / STATE).read_text(encoding="utf-8"))
        path = folder / RESUME / state["file"]
        if file_digest(path) != state["sha256"]:
            raise ValueError(f"the SHA-256 of {path.name} is not the one written down")
        tensors = load_safetensors(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        say(f"{folder / RESUME}: the checkpoint is damaged ({e}); training starts over")
        return 0
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    if losses:
        losses.load_state_dict({k.removeprefix("losses."): v for k, v in tensors.items() if k.startswith("losses.")})
    params = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            slots.setdefault(int(i), {})[name] = _laid_out_as(params[int(i)], value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    scaler.load_state_dict(state["scaler"])
    return int(state["epoch"])


def _laid_out_as(param: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory layout: in another one the optimizer may round differently."""
    if value.shape != param.shape:
        return value
    return torch.empty_like(param, dtype=value.dtype, device=value.device).copy_(value)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a whole file beside its place, flush it, and rename it into place."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
