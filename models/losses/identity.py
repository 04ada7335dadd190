"""The ID loss: cross entropy with label smoothing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.net import Output


def identity_loss(*, eps: float = 0.1) -> Callable[[Output, Tensor], Tensor]:
    """Mean over parts and images of the smoothed cross entropy (Szegedy et al., CVPR 2016, section 7).

    Args:
        eps: the target is `1 - eps` on the true class and `eps / (K - 1)` on every other. torch's `label_smoothing` is
            the convention `eps' / K` on all K classes, which is the same target at `eps' = eps K / (K - 1)`.

    Raises:
        ValueError: eps outside [0, 1).
    """
    if not 0 <= eps < 1:
        raise ValueError(f"eps {eps!r}; wanted 0 or more and less than 1")

    def loss(output: Output, labels: Tensor) -> Tensor:
        losses = [_smoothed(logits.float(), labels, eps) for logits in output.logits]
        return torch.stack(losses).mean()

    return loss


def _smoothed(logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    classes = logits.shape[1]
    # eps' may pass 1 where K is small (K = 2, eps > 1/2), which torch refuses: written out there is no such limit
    log_p = torch.log_softmax(logits, dim=1)
    true = log_p.gather(1, labels[:, None]).squeeze(1)
    others = (log_p.sum(dim=1) - true) / max(classes - 1, 1)
    if eps == 0:
        return cross_entropy(logits, labels)
    return -((1 - eps) * true + eps * others).mean()
