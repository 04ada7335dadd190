"""Checks for values that are not finite, and for collapsed features. Messages name the images and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from configs.errors import TrainingError
from configs.schema import Recipe
from models.net import Output, at_least_float32

LARGEST = torch.finfo(torch.float32).max ** 0.5  # its square is still a float32
COLLAPSED = 1e-3  # cosine distance; rounding of bfloat16 alone gives about 1e-5


@dataclass(frozen=True)
class NonFiniteBatch:
    """A batch with values that are not finite. The weights must not be updated by it.

    Attributes:
        batch: its number in the epoch.
        what: what is not finite.
        places: indices of the images in the batch; empty if unknown.
    """

    batch: int
    what: str
    places: tuple[int, ...] = ()

    def message(self, name: str, recipe: Recipe, images: Sequence[str], epoch: int, batches: int) -> str:
        """The message for the user. images: names of all images of the batch."""
        seen = [images[i] for i in self.places or range(len(images))]
        return (
            f"{name}: {self.what} in epoch {epoch + 1}, batch {self.batch + 1} of {batches} "
            f"(images {', '.join(seen[:3])}{' ...' if len(seen) > 3 else ''}). The weights were not updated; the "
            f"last checkpoint is unchanged. "
            f"Lower the rate (--set recipe.optimizer.lr={recipe.optimizer.options.get('lr', math.nan) / 10:g}) "
            "or compute in float32 (--set recipe.precision=float32)"
        )


def find_non_finite(
    batch: int, features: Sequence[bool], losses: Mapping[str, bool], gradients: Mapping[str, float]
) -> NonFiniteBatch:
    """The first problem of a batch, in the order of a step: features, losses, gradients.

    Args:
        features: per image, whether its features are finite.
        losses: per loss, whether it is finite; "the sum" is one of them.
        gradients: per parameter, the largest absolute value.
    """
    places = tuple(i for i, fine in enumerate(features) if not fine)
    if places:
        return NonFiniteBatch(batch, f"the features of {len(places)} of {len(features)} images are not finite", places)
    if not losses["the sum"]:
        names = [name for name, fine in losses.items() if not fine and name != "the sum"]
        return NonFiniteBatch(batch, f"the loss is not a finite number ({', '.join(names) or 'the sum'})")
    bad = [name for name, largest in gradients.items() if not math.isfinite(largest)]
    if not bad:
        return NonFiniteBatch(batch, "the gradients are so large that their squares are not finite")
    return NonFiniteBatch(batch, f"{len(bad)} of {len(gradients)} gradients are not finite, first that of {bad[0]},")


def check_weights(name: str, state: Mapping[str, Tensor], when: str) -> None:
    """Check that all weights are finite, with one read from the device.

    Raises:
        TrainingError: a tensor is not finite.
    """
    floats = {k: v for k, v in state.items() if v.is_floating_point()}
    fine = torch.stack([torch.isfinite(v).all() for v in floats.values()]).tolist()
    broken = [k for k, ok in zip(floats, fine, strict=True) if not ok]
    if broken:
        raise TrainingError(
            f"{name}: {len(broken)} of {len(state)} tensors are not finite after {when}, first {broken[0]}. "
            "Lower the rate (--set recipe.optimizer.lr=...)"
        )


def distance_spread(output: Output) -> Tensor:
    """The largest minus the smallest cosine distance between two images of a batch: (), 0 to 2."""
    unit = normalize(at_least_float32(output.feats.detach()), dim=1, eps=1e-6)
    dist = 1 - unit @ unit.T
    pairs = torch.ones_like(dist, dtype=torch.bool).triu(1)
    return dist.masked_fill(~pairs, -torch.inf).max() - dist.masked_fill(~pairs, torch.inf).min()


def collapse_warning(name: str, apart: float, epoch: int) -> str | None:
    """A warning if all distances are equal, so that the triplet loss stays at its margin; otherwise None.

    Args:
        apart: the mean over an epoch's batches of `distance_spread`.
    """
    if apart >= COLLAPSED:
        return None
    return (
        f"  {name}: WARNING: the features have collapsed in epoch {epoch}: all distances of a batch are equal within "
        f"{apart:.1g}, and the triplet loss stays at its margin. Try a lower rate, a longer warm-up "
        "(recipe.schedule.warmup), pretrained weights, a growing margin (recipe.losses.triplet.start) or a soft margin "
        "(recipe.losses.triplet.margin=soft)"
    )
