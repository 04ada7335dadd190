"""The recipe: all settings of training."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.frozen import ComponentConfig, Frozen

ALSO_CALLED = {"random_erasing": "erase", "color_jitter": "colour_jitter"}  # second names; the address is the same
LINEAR = ComponentConfig(name="linear")
MOST_PIXELS = 2**24  # of a training image
ALL = "all"
FirstLayers = Annotated[int, Field(ge=1, strict=True)]


class Resample(Frozen):
    """Oversampling: an identity with at least 2 and fewer than so many images is doubled with probability p."""

    p: float = Field(default=0.5, ge=0, le=1)
    fewer_than: int = Field(default=100, ge=3)


class Recipe(Frozen):
    """All settings of training."""

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
    optimizer: ComponentConfig
    schedule: ComponentConfig
    decay: Literal["auto", "all", "matrices"] = Field(
        default="auto",
        description="what weight decay is for: all weights, or not norms, biases, positions and tokens; auto: not with "
        "adamw, else all",
    )
    layer_decay: float = Field(default=1.0, gt=0, le=1, description="each layer's rate is so many times the next's")
    head_rate: float = Field(default=1.0, gt=0, le=1e6, description="the head's rate is so many times the backbone's")
    freeze: FirstLayers | Literal["all"] | None = Field(
        default=None, description="stem and first N blocks or stages stay as they are; all: the backbone"
    )
    head_epochs: int = Field(default=0, ge=0, description="first epochs in which only the head is trained")
    drop_path: float = Field(default=0.0, ge=0, lt=1, description="probability that the last block is skipped")
    clip_norm: float | None = Field(default=None, gt=0, description="largest norm of a step's gradient")
    ema: float | None = Field(default=None, gt=0, lt=1, description="of a running mean of the weights: what is kept")
    classifier: ComponentConfig = Field(default=LINEAR, description="of every head's parts: linear or cosine")
    losses: dict[str, dict[str, Any]] = Field(
        min_length=1, description="name -> its weight in the total and its options"
    )
    augment: tuple[ComponentConfig, ...]
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    channels_last: bool
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="epochs between the checkpoints that a killed run resumes from"
    )
    checkpoint_minutes: float | None = Field(
        default=None, gt=0, description="minutes between checkpoints, also within an epoch; the earlier limit counts"
    )
    feed: Literal["auto", "device", "loader"] = Field(
        default="auto", description="where images are augmented: on the device in batches, or on the host one by one"
    )
    launch: Literal["auto", "eager", "graph", "compile"] = Field(
        default="auto", description="how a step runs on a GPU; graph and eager give bit-identical weights"
    )

    def feed_on(self, device: str) -> str:
        """`feed` resolved for cpu or cuda: device or loader."""
        return {"cpu": "loader", "cuda": "device"}[device] if self.feed == "auto" else self.feed

    @field_validator("augment")
    @classmethod
    def _one_name(cls, augment: tuple[ComponentConfig, ...]) -> tuple[ComponentConfig, ...]:
        return tuple(ComponentConfig(name=ALSO_CALLED.get(a.name, a.name), **a.options) for a in augment)

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
    def _frozen(self) -> Recipe:
        if self.head_epochs and self.head_epochs >= self.epochs:
            raise ValueError(
                f"head_epochs is {self.head_epochs} of {self.epochs} epochs, so the backbone would never be trained; "
                "take fewer, or freeze: all"
            )
        if self.freeze != ALL:
            return self
        for key, plain in (("layer_decay", 1.0), ("drop_path", 0.0), ("head_epochs", 0)):
            if getattr(self, key) != plain:
                raise ValueError(f"{key} is for a backbone that is trained, and freeze is all; leave one of them out")
        names = [augment.name for augment in self.augment]
        if names not in ([], ["flip"]):
            raise ValueError(
                f"with freeze: all each image goes through the backbone once as it is and once mirrored, so of the "
                f"augmentations only one flip is possible; came: {', '.join(names)}. Take --recipe frozen, or "
                "--set 'recipe.augment=[{name: flip, p: 0.5}]'"
            )
        return self

    @model_validator(mode="after")
    def _checkpoints(self) -> Recipe:
        if self.checkpoint_every is None and self.checkpoint_minutes is None:
            raise ValueError(
                "checkpoint_every and checkpoint_minutes are both null, so a killed training could not be resumed; "
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
