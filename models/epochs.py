"""What is written down of each epoch: one line of `epochs.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from models.net import Output


@dataclass
class EpochMetrics:
    """One line of `epochs.jsonl`; means over the epoch's images."""

    epoch: int
    lr: float = 0.0
    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    accuracy: float = 0.0
    images: int = 0
    seconds: float = 0.0

    def add(self, total: Tensor, terms: Mapping[str, Tensor], output: Output, labels: Tensor) -> None:
        """Count one batch in."""
        n = len(labels)
        self.images += n
        self.loss += n * total.item()
        for name, term in terms.items():
            self.terms[name] += n * term.item()
        if output.logits:
            self.accuracy += (output.logits[0].argmax(dim=1) == labels).sum().item()

    def done(self, seconds: float) -> EpochMetrics:
        """Sums become means."""
        self.loss, self.accuracy = self.loss / self.images, self.accuracy / self.images
        self.terms = {k: v / self.images for k, v in self.terms.items()}
        self.seconds = seconds
        return self


def lines_until(path: Path, epoch: int) -> list[str]:
    """The lines of the epochs that a checkpoint holds; those past it are measured again."""
    if epoch == 0 or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if json.loads(line)["epoch"] <= epoch]
