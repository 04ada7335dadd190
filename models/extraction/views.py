"""Test-time views of an image: a feature is the mean over them. A row of `VIEWS` is made once, and called on batches.

A view acts on images decoded at its own size. So a larger `scale` shows the network more detail than training had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from configs.errors import ConfigError
from configs.schema import BuildConfig, ComponentConfig, Member
from models.registry import make, make_net

Size = tuple[int, int]
PLACES = {"centre": (0.5, 0.5), "top": (0.0, 0.5), "bottom": (1.0, 0.5), "left": (0.5, 0.0), "right": (0.5, 1.0)}


@dataclass(frozen=True)
class View:
    """A view: `change` of images (B, 3, H, W) that are decoded at `size`, height and width; None: the member's size."""

    change: Callable[[Tensor], Tensor]
    size: Size | None = None

    def __call__(self, batch: Tensor) -> Tensor:
        return self.change(batch)


def plain() -> View:
    """The image as it is."""
    return View(lambda batch: batch)


def flip() -> View:
    """The mirrored image."""
    return View(lambda batch: batch.flip(3))


def scale(size: Sequence[int]) -> View:
    """The whole image decoded at another size: height, width in pixels."""
    if len(size) != 2 or not all(isinstance(x, int) and not isinstance(x, bool) and x >= 16 for x in size):
        raise ValueError(f"size is height, width, each at least 16 pixels; {size} given")
    return View(lambda batch: batch, (size[0], size[1]))


def crop(share: float = 0.875, at: str = "centre") -> View:
    """A part of the image, `share` of its height and of its width, resized to the whole's size."""
    if not 0 < share <= 1:
        raise ValueError(f"share is of height and width, above 0 and at most 1; {share} given")
    if at not in PLACES:
        raise ValueError(f"at is one of {', '.join(PLACES)}; {at!r} given")

    def cut(batch: Tensor) -> Tensor:
        height, width = batch.shape[2:]
        h, w = max(1, round(share * height)), max(1, round(share * width))
        top, left = (
            round(p * (whole - part)) for p, whole, part in zip(PLACES[at], (height, width), (h, w), strict=True)
        )
        return _resized(batch[:, :, top : top + h, left : left + w], (height, width))

    return View(cut)


VIEWS: Mapping[str, Callable[..., Any]] = {"plain": plain, "flip": flip, "scale": scale, "crop": crop}


def make_views(views: Sequence[ComponentConfig], mirrored: bool) -> list[View]:
    """The views that are asked for, `plain` where none is, each also mirrored where that is asked.

    Raises:
        ConfigError: no such view, an option it does not have, a value it refuses, or mirrored twice.
    """
    if mirrored and any(named.name == "flip" for named in views):
        raise ConfigError(
            "ensemble.flip mirrors every view already: leave `flip` out of ensemble.views, or set flip=false"
        )
    made: list[View] = [make(VIEWS, "view", named) for named in views] or [plain()]
    return [*made, *(_mirror(view) for view in made)] if mirrored else made


def other_sizes(views: Sequence[View], own: Size) -> list[Size]:
    """The sizes at which images are decoded beside the member's own, each once."""
    return list(dict.fromkeys(view.size for view in views if view.size not in (None, own)))


def _mirror(view: View) -> View:
    return replace(view, change=lambda batch: view(batch.flip(3)))


def _resized(batch: Tensor, size: Size) -> Tensor:
    """Bilinear with antialiasing, in float32."""
    if tuple(batch.shape[2:]) == size:
        return batch
    with torch.autocast(batch.device.type, enabled=False):
        return interpolate(batch.float(), size, mode="bilinear", antialias=True, align_corners=False)


def check_views(member: Member, plan: BuildConfig) -> None:
    """Push shapes of every view through the member's network.

    Raises:
        ConfigError: a view of a size that its head cannot cut, or its backbone not take.
    """
    views = plan.ensemble.views
    if not views:
        return
    size = plan.recipe_of(member).size
    with torch.device("meta"):
        net = make_net(member, classes=2)
        net.resize(size)
    for named, view in zip(views, make_views(views, mirrored=False), strict=True):
        height, width = view.size or size
        try:
            net(torch.empty(2, 3, height, width, device="meta"))
        except (AssertionError, ConfigError, RuntimeError, TypeError, ValueError) as e:
            raise ConfigError(
                f"ensemble.views, {named.name}: member {member.name!r} cannot take pictures of {height}x{width} "
                f"({' '.join(str(e).split())[:300]}). Choose another size, or leave the view out"
            ) from e
