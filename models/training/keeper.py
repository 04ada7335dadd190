"""What is kept while a training goes on, written by a thread: checkpoints, and the metrics of every epoch."""

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
    """Writes one thing after another, whole or not at all; of a team the process that leads does.

    What goes wrong in writing is raised where the next thing is to be kept, or at the end.
    """

    def __init__(self, run: Run, name: str, folder: Path) -> None:
        self.run, self.name, self.folder = run, name, folder
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="keeper")
        self.writing: list[Future[None]] = []
        self.last = time.monotonic()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.writer.shutdown(wait=True)

    @property
    def overdue(self) -> bool:
        """Whether the minutes between two checkpoints are over."""
        minutes = self.run.recipe.checkpoint_minutes
        return minutes is not None and time.monotonic() - self.last >= 60 * minutes

    def due(self, point: TrainingPosition) -> bool:
        """Whether a checkpoint is due at the end of an epoch, by their number."""
        every = self.run.recipe.checkpoint_every
        return every is not None and point.epoch % every == 0

    def keep(self, point: TrainingPosition) -> None:
        """A checkpoint of weights that are numbers; the copy is made now, the writing goes on beside the training.

        Raises:
            TrainingError: weights that are none; nothing is written.
            OSError: the checkpoint before could not be written.
        """
        run = self.run
        check_weights(self.name, run.net.state_dict(), str(point))
        self.wait()
        self.last = time.monotonic()
        if run.team.is_leader:
            state = snapshot(point, run.net, run.optimizer, run.scaler, run.learned)
            self.writing.append(self.writer.submit(state.write, self.folder))

    def measured(self, point: TrainingPosition) -> None:
        """The metrics so far.

        Raises:
            OSError: something before could not be written.
        """
        while self.writing and self.writing[0].done():
            self.writing.pop(0).result()
        if self.run.team.is_leader:
            self.writing.append(self.writer.submit(write_text, self.folder / EPOCHS, point.text))

    def wait(self) -> None:
        """Until all is on disk.

        Raises:
            OSError: it is not.
        """
        while self.writing:
            self.writing.pop(0).result()
