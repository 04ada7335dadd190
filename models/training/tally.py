"""Metrics and numeric checks on the training's device, read every few steps. No other step waits for them.

A batch with values that are not finite is broken.
From the first broken batch on, `broken` is 1: neither the optimizer nor the losses update anything until it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.net import Output
from models.training.epoch_metrics import EpochMetrics
from models.training.numeric_checks import LARGEST, NonFiniteBatch, distance_spread, find_non_finite

LOOK = {"cpu": 1, "cuda": 32}  # steps between two reads: a read is free on a CPU, and makes a GPU wait


class BatchReadings(NamedTuple):
    """Checks of one batch before its gradients.

    Attributes:
        features: (B,) bool, whether each image's features are finite.
        losses: (1 + T,) bool, whether the sum and each loss are finite.
        fine: () bool, whether all features and the sum are finite.
    """

    features: Tensor
    losses: Tensor
    fine: Tensor


class Tally:
    """The metric sums of an epoch, and its first broken batch.

    Args:
        terms: names of the losses.
        batch: images per batch, of all processes together.
    """

    def __init__(self, terms: Sequence[str], batch: int, net: nn.Module, device: torch.device) -> None:
        self.terms = tuple(terms)
        self.batch = batch
        self.trained = {name: p for name, p in net.named_parameters() if p.requires_grad}
        self.look_every = LOOK[device.type]
        places = 3 + len(self.terms)  # loss, correct predictions, distance spread, each term
        self.weights = torch.full((places,), float(batch), dtype=torch.float64, device=device)
        self.weights[1] = 1.0
        self.sums = torch.zeros_like(self.weights)
        self.broken = torch.zeros((), device=device)
        self.at = torch.zeros((), dtype=torch.float64, device=device)
        self.features = torch.ones(batch, dtype=torch.bool, device=device)
        self.losses = torch.ones(1 + len(self.terms), dtype=torch.bool, device=device)
        self.norms: Tensor | None = None  # one per gradient; made in the first step

    def begin(self, metrics: EpochMetrics) -> None:
        """Continue from the sums in an epoch's metrics."""
        counted = [metrics.loss, metrics.accuracy, metrics.apart, *(metrics.terms[name] for name in self.terms)]
        self.sums.copy_(torch.tensor(counted, dtype=torch.float64))

    @torch.no_grad()
    def add(self, output: Output, labels: Tensor, terms: Mapping[str, Tensor], total: Tensor) -> BatchReadings:
        """Add one batch to the sums, and check its features and losses."""
        right = (output.logits[0].argmax(dim=1) == labels).sum() if output.logits else torch.zeros_like(total)
        values = torch.stack([total, *(terms[name] for name in self.terms)])
        told = torch.cat((values[:1], torch.stack((right.to(values.dtype), distance_spread(output))), values[1:]))
        self.sums.add_(told.double() * self.weights)
        features, losses = torch.isfinite(output.feats).all(dim=1), torch.isfinite(values)
        return BatchReadings(features, losses, features.all() & losses[0])

    @torch.no_grad()
    def judge(self, at: Tensor, seen: BatchReadings, *, gradients: bool) -> Tensor:
        """Record what is wrong with the batch if it is the first broken one.

        Args:
            at: () float64, the batch's number.
            seen: the result of `add`.
            gradients: whether to check gradients; not with a scaler, which skips such steps itself.

        Returns:
            () bool: whether this batch and later ones must not update anything.
        """
        bad = ~seen.fine
        pairs = [(self.at, at), (self.features, seen.features), (self.losses, seen.losses)]
        if gradients:
            norms, fine = largest_of([p.grad for p in self.trained.values() if p.grad is not None])
            self.norms = torch.zeros_like(norms) if self.norms is None else self.norms
            bad = bad | ~fine
            pairs.append((self.norms, norms))
        first = bad & (self.broken == 0)
        for kept, now in pairs:
            kept.copy_(torch.where(first, now, kept))
        self.broken.copy_(torch.maximum(self.broken, bad.to(self.broken.dtype)))
        return self.broken > 0

    def look(self, metrics: EpochMetrics) -> NonFiniteBatch | None:
        """Wait for the device and copy the sums into the metrics. Returns the first broken batch, if any."""
        broken, metrics.loss, metrics.accuracy, metrics.apart, *terms = torch.cat(
            (self.broken.double()[None], self.sums)
        ).tolist()
        metrics.terms = dict(zip(self.terms, terms, strict=True))
        if not broken:
            return None
        losses = dict(zip(("the sum", *self.terms), self.losses.tolist(), strict=True))
        names = [name for name, p in self.trained.items() if p.grad is not None]
        norms = {} if self.norms is None else dict(zip(names, self.norms.tolist(), strict=True))
        return find_non_finite(int(self.at), self.features.tolist(), losses, norms)


def largest_of(grads: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The largest absolute value of each gradient, (P,), and whether all gradients and their squares are finite, ().

    On a CPU the sum of squares is ten times faster than the maximum, and reading a value is free.
    So for finite gradients it returns their 2-norm there.
    """
    if grads[0].device.type == "cpu":
        norms = torch.stack(list(torch._foreach_norm(grads, 2)))
        if torch.isfinite(torch.linalg.vector_norm(norms)):
            return norms, torch.ones((), dtype=torch.bool)
        return torch.stack(list(torch._foreach_norm(grads, torch.inf))), torch.zeros((), dtype=torch.bool)
    norms = torch.stack(list(torch._foreach_norm(grads, torch.inf)))
    return norms, (norms < LARGEST).all()
