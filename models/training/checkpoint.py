"""Checkpoints: an interrupted training is resumed from them.

A checkpoint holds the weights, the state of the losses, the optimizer, the scaler and the training position.
No random state is saved: every random choice is a function of (seed, epoch, index).
The number of threads is saved, since sums round differently with another number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.store.atomic_files import check_checksum, file_digest, flush, with_checksum, write_file, write_text
from configs.store.store import RESUME
from models.training.epoch_metrics import EpochMetrics, TrainingPosition

STATE = "state.json"


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state on the host, so training continues while it is written.

    Attributes:
        point: the training position, as a dict.
        tensors: weights, state of the losses and of the optimizer.
        copied: the event at which copies from a GPU are complete.
    """

    point: dict[str, Any]
    tensors: dict[str, Tensor]
    scaler: dict[str, Any]
    threads: int
    copied: torch.cuda.Event | None = None

    def write(self, folder: Path) -> None:
        """Write it to `folder/resume/`. The previous checkpoint is deleted when this one is on disk."""
        if self.copied is not None:
            self.copied.synchronize()
        resume = folder / RESUME
        resume.mkdir(exist_ok=True)
        path = resume / f"epoch-{self.point['epoch']}-{self.point['batch']}.safetensors"
        content = save_safetensors(self.tensors)
        write_file(path, content)
        state = {
            "point": self.point,
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "scaler": self.scaler,
            "threads": self.threads,
        }
        write_text(resume / STATE, with_checksum(state))
        flush(resume)
        for old in resume.glob("*.safetensors"):
            if old != path:
                old.unlink()


def snapshot(
    point: TrainingPosition, net: nn.Module, optimizer: Optimizer, scaler: Any, losses: nn.Module | None = None
) -> Snapshot:
    """Copy the state. From a GPU it goes to page-locked memory: the host does not wait."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    tensors |= {f"losses.{k}": v for k, v in losses.state_dict().items()} if losses else {}
    for i, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in slots.items()}
    kept = {k: _on_the_host(v) for k, v in tensors.items()}
    copied = None
    if any(v.is_cuda for v in tensors.values()):
        copied = torch.cuda.Event()
        copied.record()
    return Snapshot(asdict(point), kept, scaler.state_dict(), torch.get_num_threads(), copied)


def _on_the_host(value: Tensor) -> Tensor:
    """A contiguous copy. From a GPU it is complete when the stream reaches it."""
    if not value.is_cuda:
        return value.clone(memory_format=torch.contiguous_format)
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value.contiguous(), non_blocking=True)


def load_checkpoint(
    folder: Path,
    net: nn.Module,
    optimizer: Optimizer,
    scaler: Any,
    losses: nn.Module | None = None,
    *,
    say: Callable[[str], None] = print,
) -> TrainingPosition:
    """Load the checkpoint if there is one. A damaged one is reported, and training starts from epoch 0.

    Returns:
        the training position; epoch 0 and batch 0 without a checkpoint.
    """
    if not (folder / RESUME / STATE).exists():
        return TrainingPosition()
    try:
        state = check_checksum((folder / RESUME / STATE).read_text(encoding="utf-8"))
        path = folder / RESUME / state["file"]
        if file_digest(path) != state["sha256"]:
            raise ValueError(f"the SHA-256 of {path.name} is wrong")
        tensors = load_safetensors(path.read_bytes())
        point = _point(state["point"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        say(f"{folder / RESUME}: the checkpoint is damaged ({e}); training starts from epoch 0")
        return TrainingPosition()
    before, now = state["threads"], torch.get_num_threads()
    if before != now:
        say(f"note: started with {before} threads, resumed with {now}: the last bits of the weights may differ")
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
    return point


def _point(raw: dict[str, Any]) -> TrainingPosition:
    sums = EpochMetrics(**raw["sums"]) if raw["sums"] else None
    return TrainingPosition(raw["epoch"], raw["batch"], sums, tuple(raw["lines"]))


def _laid_out_as(param: Tensor, value: Tensor) -> Tensor:
    """The value in the parameter's memory layout. In another layout the optimizer may round differently."""
    if value.shape != param.shape:
        return value
    return torch.empty_like(param, dtype=value.dtype, device=value.device).copy_(value)
