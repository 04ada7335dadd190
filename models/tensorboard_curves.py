"""TensorBoard curves of every member's training: `tensorboard --logdir runs/logs`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

EVENT_FILES = "events.out.tfevents.*"


class Curves:
    """A listener of `Progress`: one folder of curves per member, one point per epoch.

    The folder is named after the member's cached result, so another recipe gets a folder of its own.
    A resumed training writes its curves again from the completed epochs, so no epoch is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}  # process id of the worker, 0 for this process -> name of the member's result
        self.writers: dict[int, SummaryWriter] = {}

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Handle one event of the build log."""
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
        """Write the curves of a member that was trained without TensorBoard."""
        if not any((self.folder / name).glob(EVENT_FILES)) and metrics.is_file():
            self._open(0, name, metrics, None)
            self._close(0)

    def close(self) -> None:
        """Flush and close all files."""
        for process in list(self.writers):
            self._close(process)

    def _close(self, process: int) -> None:
        if writer := self.writers.pop(process, None):
            writer.close()

    def _open(self, process: int, name: str, metrics: Path, done: int | None) -> None:
        """Start a new file with the first `done` epochs, or with all of them."""
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
    """Add a point to every curve: one per number of a line of `epochs.jsonl`. Nested ones are named `terms/triplet`."""
    for name, value in numbers(epoch).items():
        writer.add_scalar(name, value, int(epoch["epoch"]))
    writer.flush()


def numbers(epoch: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every number of an epoch by its name, without the epoch itself, and the images per second."""
    found: dict[str, float] = {}
    for name, value in epoch.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ("epoch", "epochs"):
            found[prefix + name] = float(value)
    if not prefix and epoch.get("seconds"):
        found["images_per_second"] = epoch["images"] / epoch["seconds"]
    return found
