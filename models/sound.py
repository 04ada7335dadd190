"""Numbers that go wrong: found where they first show, and told with the images and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configs.errors import TrainingError
from configs.schema import Recipe


def check_weights(name: str, state: Mapping[str, Tensor], when: str) -> None:
    """Weights that are no numbers are not kept.

    Raises:
        TrainingError: a tensor is not finite.
    """
    broken = [k for k, v in state.items() if not torch.isfinite(v).all()]
    if broken:
        raise TrainingError(
            f"{name}: {len(broken)} of {len(state)} tensors are not finite after {when}, first {broken[0]}. "
            "Lower the rate (--set recipe.optimizer.lr=...)"
        )


def where_it_broke(name: str, recipe: Recipe, images: Sequence[str], epoch: int, batch: int, batches: int) -> str:
    """What a person needs to know of a batch whose loss is no number."""
    return (
        f"{name}: the loss is not a finite number in epoch {epoch + 1}, batch {batch + 1} of {batches} "
        f"(images {', '.join(images[:3])} ...). "
        f"Lower the rate (--set recipe.optimizer.lr={recipe.optimizer.options.get('lr', math.nan) / 10:g}) "
        "or compute in float32 (--set recipe.precision=float32)"
    )
