"""One step of a training: pixels and labels in, weights moved. It reads nothing back from its device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from models.data.batches import normalise
from models.data.feed import HEADER
from models.device import autocast
from models.distributed.data_parallel import whole_batch
from models.losses import Learner
from models.training.setup import Run
from models.training.tally import BatchReadings, Tally


class Step:
    """The step of one training. Its shapes are those of the batch, and no value decides what is done."""

    def __init__(self, run: Run, tally: Tally, forward: nn.Module) -> None:
        """forward: the run's, or that compiled."""
        self.run, self.tally, self.forward = run, tally, forward
        self.state = list(run.net.state_dict().values())
        if not run.scaler.is_enabled():
            run.optimizer.found_inf = tally.broken  # type: ignore[attr-defined]  # as a gradient scaler hands it over

    def __call__(self, raw: Tensor | tuple[Tensor, ...], labels: Tensor, header: Tensor) -> None:
        """Learn from one batch, unless it or one before it is broken.

        Args:
            raw: (B, 3, H, W) uint8, or what a frozen backbone made of the images; and labels (B,) of this process.
            header: (3 + B * P,) float64: the time in epochs, the rate, the number of the batch in its epoch, and a
                number in [0, 1) for each image and drop path.
        """
        run = self.run
        t, rate, at = header[:HEADER].unbind()
        set_rate(run.optimizer, rate if run.warmup is None else run.warmup.rate(rate))
        if run.net.paths:
            run.net.draw_paths(header[HEADER:].view(len(labels), -1))
        with autocast(run.device, run.precision):
            if isinstance(raw, tuple):
                output = self.forward(*raw)
            else:
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
        if run.ema is not None:
            run.ema.update(self.state)

    def _backward(self, total: Tensor, seen: BatchReadings, at: Tensor) -> Tensor:
        """Gradients, and the optimizer's step; whether the batch is passed over."""
        scaler, optimizer, tally = self.run.scaler, self.run.optimizer, self.tally
        if scaler.is_enabled():  # it looks for gradients that are no numbers, and passes over them
            skip = tally.judge(at, seen, gradients=False)
            scaler.scale(total * torch.where(skip, torch.nan, 1.0)).backward()
            if self.run.recipe.clip_norm is not None:
                scaler.unscale_(optimizer)
                self._clip(self.run.recipe.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            return skip
        total.backward()
        skip = tally.judge(at, seen, gradients=True)
        if self.run.recipe.clip_norm is not None:
            self._clip(self.run.recipe.clip_norm)
        optimizer.step()
        return skip

    def _clip(self, most: float) -> None:
        """Shorten the gradient of all that is trained to this 2-norm (Pascanu et al., ICML 2013, algorithm 1)."""
        trained = [p for group in self.run.optimizer.param_groups for p in group["params"]]
        clip_grad_norm_(trained, most, foreach=True)


def set_rate(optimizer: Optimizer, rate: Tensor) -> None:
    """Write each group's rate where the optimizer reads it: on a GPU that is a tensor there, which a captured step
    reads.

    torch refuses a capture without `capturable`, and warns of it in a step that is not captured.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(rate * group["scale"])
            group["capturable"] = torch.cuda.is_current_stream_capturing()
        else:
            group["lr"] = float(rate) * group["scale"]
