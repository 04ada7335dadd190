"""The ID loss: cross entropy with label smoothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from models.net import Output, at_least_float32


def identity_loss(*, eps: float = 0.1, over: Literal["others", "all"] = "others") -> Callable[..., Tensor]:
    """Mean over classifiers and images of the smoothed cross entropy (Szegedy et al., CVPR 2016, section 7).

    Args:
        eps: the share of the target that is moved away from the true class.
        over: the classes that get it.
            "others": the target is `1 - eps` on the true class and `eps / (K - 1)` on every other.
            "all", as in the paper and torch's `label_smoothing`: `eps / K` on all K classes, plus `1 - eps` on the
            true one. "all" with eps equals "others" with `eps (K - 1) / K`.

    Raises:
        ValueError: eps outside [0, 1), or unknown `over`.
    """
    if not 0 <= eps < 1:
        raise ValueError(f"eps {eps!r}; must be 0 or more and less than 1")
    if over not in ("others", "all"):
        raise ValueError(f"unknown over {over!r}; there are: others, all")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        losses = []
        for logits in output.logits:
            classes = logits.shape[1]
            taken = eps if over == "others" else eps * (classes - 1) / classes
            losses.append(_smoothed(at_least_float32(logits), labels, taken))
        return torch.stack(losses).mean()

    return loss


def _smoothed(logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    classes = logits.shape[1]
    # eps' may exceed 1 if K is small (K = 2, eps > 1/2), which torch's cross_entropy does not allow
    log_p = torch.log_softmax(logits, dim=1)
    true = log_p.gather(1, labels[:, None]).squeeze(1)
    others = (log_p.sum(dim=1) - true) / max(classes - 1, 1)
    return -((1 - eps) * true + eps * others).mean()
