"""TensorBoard curves of every member's training: `tensorboard --logdir runs/logs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

EVENT_FILES = "events.out.tfevents.*"


class Curves:
    """A listener of `Progress`: a folder of curves for each member, a point for each epoch.

    The folder bears the name of the member's result, so that another recipe's curves lie beside and not on top. A
    training that goes on after a kill writes its curves anew, from the epochs that stand: none is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}  # worker process, 0 for this one -> the result that it trains
        self.writers: dict[int, SummaryWriter] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Follow the trainings among the results."""
        process = int(fields.get("pid", 0))
        if event == "begun" and fields.get("kind") == "members":
            self.names[process] = str(fields["key"]).split("/")[1]
        elif event == "training":
            name = self.names.get(process, str(fields["member"]))
            self._open(process, name, Path(fields["metrics"]), int(fields["done"]))
        elif event == "epoch" and process in self.writers:
            add_epoch(self.writers[process], fields)
        elif event in ("done", "stopped") and fields.get("kind") == "members":
            self._close(process)

    def write_kept(self, name: str, metrics: Path) -> None:
        """The curves of a member that was trained when nobody asked for them."""
        if not any((self.folder / name).glob(EVENT_FILES)) and metrics.is_file():
            self._open(0, name, metrics, None)
            self._close(0)

    def close(self) -> None:
        """Write out what is still in memory."""
        for process in list(self.writers):
            self._close(process)

    def _close(self, process: int) -> None:
        if writer := self.writers.pop(process, None):
            writer.close()

    def _open(self, process: int, name: str, metrics: Path, done: int | None) -> None:
        """A new file, with the epochs that stand: `done` of them, or all."""
        self._close(process)
        folder = self.folder / name
        for old in folder.glob(EVENT_FILES):
            old.unlink()
        self.writers[process] = writer = SummaryWriter(str(folder))
        lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.is_file() else []
        for epoch in map(json.loads, lines):
            if done is None or epoch["epoch"] <= done:
                add_epoch(writer, epoch)
        writer.flush()


def add_epoch(writer: SummaryWriter, epoch: Mapping[str, Any]) -> None:
    """A point on every curve: each number of a line of `epochs.jsonl`, `terms/triplet` for those within."""
    for name, value in numbers(epoch).items():
        writer.add_scalar(name, value, int(epoch["epoch"]))
    writer.flush()


def numbers(epoch: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number by its name; the step itself is none, and the speed is one more."""
    found: dict[str, float] = {}
    for name, value in epoch.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ("epoch", "epochs"):
            found[prefix + name] = float(value)
    if not prefix and epoch.get("seconds"):
        found["images_per_second"] = epoch["images"] / epoch["seconds"]
    return found
