"""The recipe: everything about training that is a number or a choice."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.frozen import Frozen, Named

ALSO_CALLED = {"random_erasing": "erase", "color_jitter": "colour_jitter"}  # the same thing, under the same address
MOST_PIXELS = 2**24  # of a picture that is trained on


class Resample(Frozen):
    """Which identities have their images doubled: each with 2 images or more and fewer than so many, with p."""

    p: float = Field(default=0.5, ge=0, le=1)
    fewer_than: int = Field(default=100, ge=3)


class Recipe(Frozen):
    """Everything about training that is a number or a choice."""

    size: tuple[int, int] = Field(description="height, width in pixels")
    epochs: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**63)
    identities_per_batch: int = Field(ge=2)
    images_per_identity: int = Field(ge=2)
    min_images: int = Field(ge=1, description="identities with fewer training images are left out")
    resample: Resample | None = None
    pretrained: bool
    zero_init_residual: bool = Field(
        default=False, description="random weights start with every residual branch at zero"
    )
    optimizer: Named
    schedule: Named
    losses: dict[str, dict[str, Any]] = Field(
        min_length=1, description="name -> its weight in the total and its options"
    )
    augment: tuple[Named, ...]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: bool
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="epochs between the checkpoints that a killed run resumes from"
    )
    checkpoint_minutes: float | None = Field(
        default=None, gt=0, description="minutes between them, within an epoch too; whichever of the two comes first"
    )
    feed: Literal["auto", "device", "loader"] = Field(
        default="auto", description="where images are augmented: on the device, or on the host, one after another"
    )
    launch: Literal["auto", "eager", "graph", "compile"] = Field(
        default="auto", description="how a step reaches a GPU; graph and eager make the same weights to the bit"
    )

    def feed_on(self, device: str) -> str:
        """`feed`, settled for cpu or cuda: device or loader."""
        return {"cpu": "loader", "cuda": "device"}[device] if self.feed == "auto" else self.feed

    @field_validator("augment")
    @classmethod
    def _one_name(cls, augment: tuple[Named, ...]) -> tuple[Named, ...]:
        return tuple(Named(name=ALSO_CALLED.get(a.name, a.name), **a.options) for a in augment)

    @field_validator("losses")
    @classmethod
    def _weighed(cls, losses: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in losses.items():
            weight = options.get("weight", 1.0)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise ValueError(f"the weight of {name} is {weight!r}; wanted a number of 0 or more")
            if "name" in options:
                raise ValueError(f"{name} has an option 'name'; a loss is named by its key alone")
        return losses

    @model_validator(mode="after")
    def _checkpoints(self) -> Recipe:
        if self.checkpoint_every is None and self.checkpoint_minutes is None:
            raise ValueError(
                "checkpoint_every and checkpoint_minutes are both null, so nothing would be kept of a killed training; "
                "set one, such as checkpoint_minutes: 3"
            )
        return self

    @field_validator("size")
    @classmethod
    def _big_enough(cls, size: tuple[int, int]) -> tuple[int, int]:
        if min(size) < 32:
            raise ValueError(f"size is height, width, each at least 32 pixels; {list(size)} given")
        if size[0] * size[1] > MOST_PIXELS:
            raise ValueError(f"size is height, width, {MOST_PIXELS:,} pixels together at most; {list(size)} given")
        return size
