"""One step of a training: pixels and labels in, weights moved. It reads nothing back from its device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.data.batches import normalise
from models.device import autocast
from models.distributed.data_parallel import whole_batch
from models.losses import Learner
from models.training.setup import Run
from models.training.tally import BatchReadings, Tally


class Step:
    """The step of one training. Its shapes are those of the batch, and no value decides what is done."""

    def __init__(self, run: Run, tally: Tally, forward: nn.Module) -> None:
        """forward: the network, or what runs it together with others, or compiled."""
        self.run, self.tally, self.forward = run, tally, forward
        if not run.scaler.is_enabled():
            run.optimizer.found_inf = tally.broken  # type: ignore[attr-defined]  # as a gradient scaler hands it over

    def __call__(self, raw: Tensor, labels: Tensor, header: Tensor) -> None:
        """Learn from one batch, unless it or one before it is broken.

        Args:
            raw: (B, 3, H, W) uint8 and labels (B,) of this process.
            header: (3,) float64: the time in epochs, the rate, and the number of the batch in its epoch.
        """
        run = self.run
        t, rate, at = header.unbind()
        set_rate(run.optimizer, rate if run.warmup is None else run.warmup.rate(rate))
        with autocast(run.device, run.precision):
            images = normalise(raw, run.device, channels_last=run.recipe.channels_last, scale=run.net.scale)
            output = self.forward(images)
        output, labels = whole_batch(output, labels, run.team)
        terms = {name: loss(output, labels, t) for name, (_, loss) in run.losses.items()}
        total = torch.stack([run.losses[name][0] * term for name, term in terms.items()]).sum()
        seen = self.tally.add(output, labels, terms, total)
        run.optimizer.zero_grad(set_to_none=True)
        skip = self._backward(total, seen, at)
        for _, loss in run.losses.values():
            if isinstance(loss, Learner):
                loss.update_state(output, labels, skip, t)
        if run.warmup is not None:
            run.warmup.update_state(output, labels, skip)

    def _backward(self, total: Tensor, seen: BatchReadings, at: Tensor) -> Tensor:
        """Gradients, and the optimizer's step; whether the batch is passed over."""
        scaler, optimizer, tally = self.run.scaler, self.run.optimizer, self.tally
        if scaler.is_enabled():  # it looks for gradients that are no numbers, and passes over them
            skip = tally.judge(at, seen, gradients=False)
            scaler.scale(total * torch.where(skip, torch.nan, 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
            return skip
        total.backward()
        skip = tally.judge(at, seen, gradients=True)
        optimizer.step()
        return skip


def set_rate(optimizer: Optimizer, rate: Tensor) -> None:
    """Write the rate where the optimizer reads it: on a GPU that is a tensor there, which a captured step reads.

    torch refuses a capture without `capturable`, and warns of it in a step that is not captured.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(rate)
            group["capturable"] = torch.cuda.is_current_stream_capturing()
        else:
            group["lr"] = float(rate)
