"""Checkpoints and metrics, written by a thread during training."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from configs.store.atomic_files import write_text
from models.training.checkpoint import snapshot
from models.training.epoch_metrics import TrainingPosition
from models.training.numeric_checks import check_weights
from models.training.setup import Run

EPOCHS = "epochs.jsonl"


class Keeper:
    """Writes files one after another, atomically. In a process group only the leader writes.

    An error of a write is raised by the next call, or at the end.
    """

    def __init__(self, run: Run, name: str, folder: Path) -> None:
        self.run = run
        self.name = name
        self.folder = folder
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self.writing: list[Future[None]] = []
        self.last = time.monotonic()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.writer.shutdown(wait=True)

    @property
    def overdue(self) -> bool:
        """Whether `checkpoint_minutes` have passed since the last checkpoint."""
        minutes = self.run.recipe.checkpoint_minutes
        return minutes is not None and time.monotonic() - self.last >= 60 * minutes

    def due(self, point: TrainingPosition) -> bool:
        """Whether a checkpoint is due after this epoch, by `checkpoint_every`."""
        every = self.run.recipe.checkpoint_every
        return every is not None and point.epoch % every == 0

    def keep(self, point: TrainingPosition) -> None:
        """Save a checkpoint. The state is copied now and written during training.

        Raises:
            TrainingError: a weight is not finite. Nothing is written.
            OSError: the previous checkpoint could not be written.
        """
        run = self.run
        check_weights(self.name, run.net.state_dict(), str(point))
        self.wait()
        self.last = time.monotonic()
        if run.team.is_leader:
            state = snapshot(point, run.net, run.optimizer, run.scaler, run.learned)
            self.writing.append(self.writer.submit(state.write, self.folder))

    def measured(self, point: TrainingPosition) -> None:
        """Write the metrics so far.

        Raises:
            OSError: an earlier file could not be written.
        """
        while self.writing and self.writing[0].done():
            self.writing.pop(0).result()
        if self.run.team.is_leader:
            self.writing.append(self.writer.submit(write_text, self.folder / EPOCHS, point.text))

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
            OSError: a file could not be written.
        """
        while self.writing:
            self.writing.pop(0).result()
