"""Metrics of each epoch: one line of `epochs.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass
class EpochMetrics:
    """One line of `epochs.jsonl`: means over the epoch's images. Sums until the epoch is complete."""

    epoch: int
    lr: float = 0.0
    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    accuracy: float = 0.0
    images: int = 0
    seconds: float = 0.0
    apart: float = 0.0  # largest minus smallest cosine distance of a batch; near 0 the features have collapsed

    def done(self, seconds: float) -> EpochMetrics:
        """Turn sums into means."""
        self.loss, self.accuracy = self.loss / self.images, self.accuracy / self.images
        self.apart /= self.images
        self.terms = {k: v / self.images for k, v in self.terms.items()}
        self.seconds = seconds
        return self


@dataclass(frozen=True)
class TrainingPosition:
    """The position in a training, and the metrics so far.

    Attributes:
        epoch: completed epochs.
        batch: completed batches of the current epoch.
        sums: metrics of these batches.
        lines: the lines of `epochs.jsonl`.
    """

    epoch: int = 0
    batch: int = 0
    sums: EpochMetrics | None = None
    lines: tuple[str, ...] = ()

    def finished(self, metrics: EpochMetrics) -> TrainingPosition:
        """The position after one more epoch."""
        return TrainingPosition(self.epoch + 1, lines=(*self.lines, json.dumps(asdict(metrics))))

    def within(self, batch: int, sums: EpochMetrics) -> TrainingPosition:
        """The position inside the current epoch."""
        return TrainingPosition(self.epoch, batch, sums, self.lines)

    @property
    def text(self) -> str:
        """The content of `epochs.jsonl`."""
        return "".join(line + "\n" for line in self.lines)

    def __str__(self) -> str:
        return f"epoch {self.epoch}" + (f" and {self.batch} batches" if self.batch else "")
