"""One training step: pixels and labels in, weights updated. It reads no values back from the device."""

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
    """The step of one training. Its shapes depend on the batch only, and its control flow on no value."""

    def __init__(self, run: Run, tally: Tally, forward: nn.Module) -> None:
        """forward: `run.forward()`, or a compiled version of it."""
        self.run, self.tally, self.forward = run, tally, forward
        self.state = list(run.net.state_dict().values())
        if not run.scaler.is_enabled():
            run.optimizer.found_inf = tally.broken  # type: ignore[attr-defined]  # as a gradient scaler sets it

    def __call__(self, raw: Tensor | tuple[Tensor, ...], labels: Tensor, header: Tensor) -> None:
        """Learn from one batch, unless it or an earlier batch has non-finite values.

        Args:
            raw: (B, 3, H, W) uint8, or a frozen backbone's features. labels: (B,). Both are this process's share.
            header: (3 + B * P,) float64: time in epochs, learning rate, index of the batch in its epoch, and a number
                in [0, 1) for each image and drop path.
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
        """Compute gradients and run the optimizer's step. Returns whether the batch is skipped."""
        scaler, optimizer, tally = self.run.scaler, self.run.optimizer, self.tally
        if scaler.is_enabled():  # the scaler skips steps with non-finite gradients
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
        """Clip the gradient of all trained parameters to this 2-norm (Pascanu et al., ICML 2013, algorithm 1)."""
        trained = [p for group in self.run.optimizer.param_groups for p in group["params"]]
        clip_grad_norm_(trained, most, foreach=True)


def set_rate(optimizer: Optimizer, rate: Tensor) -> None:
    """Set each group's learning rate. On a GPU it is a tensor, which a captured step reads.

    torch refuses a capture without `capturable`, and warns about it in a step that is not captured.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(rate * group["scale"])
            group["capturable"] = torch.cuda.is_current_stream_capturing()
        else:
            group["lr"] = float(rate) * group["scale"]
