"""What a killed training goes on from: weights, what the losses learned, optimizer and epoch, replaced in one step.

The random state needs no keeping: every random choice is a function of (seed, epoch, place).
"""

from __future__ import annotations

import json
import os
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
    folder: Path, net: nn.Module, optimizer: Optimizer, scaler: Any, losses: nn.Module | None = None
) -> int:
    """Put the kept state back, if there is a whole one; the number of epochs done, 0 for none."""
    try:
        state = json.loads((folder / RESUME / STATE).read_text(encoding="utf-8"))
        path = folder / RESUME / state["file"]
        if file_digest(path) != state["sha256"]:
            return 0
        tensors = load_safetensors(path.read_bytes())
    except (OSError, ValueError, KeyError, SafetensorError):
        return 0
    net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
    if losses:
        losses.load_state_dict({k.removeprefix("losses."): v for k, v in tensors.items() if k.startswith("losses.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, i, name = key.split(".", 2)
            slots.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    scaler.load_state_dict(state["scaler"])
    return int(state["epoch"])


def write_flushed(path: Path, content: bytes) -> None:
    """Write a whole file beside its place, flush it, and rename it into place."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
