"""The optimizers that a recipe can name. Each heeds `found_inf`, a tensor (): where it is 1 a step moves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

Params = Iterable[nn.Parameter] | Iterable[dict[str, Any]]

adam = partial(torch.optim.Adam, fused=True)
adamw = partial(torch.optim.AdamW, fused=True)  # decoupled weight decay (Loshchilov and Hutter, ICLR 2019, algorithm 2)


def sgd(
    params: Params, *, lr: float = 1e-3, momentum: float = 0.9, weight_decay: float = 0.0, nesterov: bool = False
) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum.

    The momentum starts at zero here, which gives the same first step. torch starts it in the first step, and leaves it
    undefined where a gradient scaler skips that one.
    """
    optimizer = torch.optim.SGD(
        params, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True
    )
    if momentum:
        for group in optimizer.param_groups:
            for p in group["params"]:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer
