"""The tables of what a config line can name. A new row is a file that holds the thing, and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.schema import Member, Named, Recipe
from models import lr_schedules
from models.backbones.resnet import resnet
from models.backbones.timm_backbone import timm_map
from models.data import augment
from models.heads.global_head import GlobalHead
from models.heads.mgn import mgn, mgn_grid
from models.heads.rmgl import rmgl
from models.losses.center import CenterLoss
from models.losses.identity import identity_loss
from models.losses.triplet import triplet_loss
from models.net import Net

Table = Mapping[str, Callable[..., Any]]

BACKBONES: Table = {"resnet": resnet, "timm": timm_map}
HEADS: Table = {"global": GlobalHead, "mgn": mgn, "mgn_grid": mgn_grid, "rmgl": rmgl}
LOSSES: Table = {"id": identity_loss, "triplet": triplet_loss, "center": CenterLoss}
AUGMENTS: Table = {
    "flip": augment.flip,
    "pad_crop": augment.pad_crop,
    "affine": augment.affine,
    "random_shift": augment.random_shift,
    "colour_jitter": augment.colour_jitter,
    "random_patch": augment.random_patch,
    "erase": augment.erase,
    "cutout": augment.cutout,
}
SCHEDULES: Table = {
    "steps": lr_schedules.steps,
    "constant": lr_schedules.constant,
    "cosine": lr_schedules.cosine,
    "constant_warmup": lr_schedules.constant_warmup,
    "error_warmup": lr_schedules.error_warmup,
    "gradual_warmup": lr_schedules.gradual_warmup,
}
# Each heeds `found_inf`, a tensor (): where it is 1 a step moves nothing. torch's fused ones do.
OPTIMIZERS: Table = {"adam": partial(torch.optim.Adam, fused=True)}


def make(table: Table, what: str, named: Named, **given: Any) -> Any:
    """Build the row that a config line names, with its options and, of what the caller knows, what it has room for.

    Raises:
        ConfigError: no such row, an option the row does not have, or a value it refuses.
    """
    if named.name not in table:
        raise ConfigError(f"unknown {what} {named.name!r}; models/registry.py has: {', '.join(table)}")
    row = table[named.name]
    takes = inspect.signature(row).parameters
    given = {k: v for k, v in given.items() if k in takes or k == "params"}
    known = [k for k in takes if k not in given and k != "params"]
    for option in named.options:
        if option not in known:
            raise ConfigError(f"{what} {named.name!r} has no option {option!r}; it has: {', '.join(known) or 'none'}")
    try:
        return row(**given, **named.options)
    except (ValueError, TypeError, RuntimeError, OverflowError, ArithmeticError) as e:
        raise ConfigError(f"{what} {named.name!r}: {e}") from e


def make_net(member: Member, classes: int) -> Net:
    """The member's network, with random weights."""
    backbone = make(BACKBONES, "backbone", member.backbone)
    known = {"channels": backbone.channels, "classes": classes, "backbone": backbone}
    return Net(backbone, make(HEADS, "head", member.head, **known))


def make_losses(recipe: Recipe, *, dim: int, classes: int) -> dict[str, tuple[float, Callable[..., torch.Tensor]]]:
    """Name -> (weight, loss), as in `recipe.losses`, for features (B, dim) of so many classes."""
    losses = {}
    for name, options in recipe.losses.items():
        rest = dict(options)
        weight = rest.pop("weight", 1.0)
        loss = make(LOSSES, "loss", Named(name=name, **rest), epochs=recipe.epochs, dim=dim, classes=classes)
        losses[name] = (float(weight), loss)
    return losses


def make_augments(recipe: Recipe, images: NDArray[np.uint8]) -> list[augment.Augment]:
    """The augmentations in their order, for training images (N, H, W, 3) in their fixed order."""
    return [make(AUGMENTS, "augmentation", named, images=images, seed=recipe.seed) for named in recipe.augment]


def make_schedule(recipe: Recipe) -> lr_schedules.Schedule:
    """t in epochs -> the factor on the base rate."""
    return _schedule(recipe.schedule, recipe.epochs)


def _schedule(named: Named, epochs: float) -> lr_schedules.Schedule:
    """A schedule over so many epochs; a warm-up's option `then` names the one that follows it."""
    options = named.options
    warms = named.name in SCHEDULES and "then" in inspect.signature(SCHEDULES[named.name]).parameters
    following = options.pop("then", "constant") if warms else None

    def then(left: float) -> lr_schedules.Schedule:
        return _schedule(Named.model_validate(following), left)

    result: lr_schedules.Schedule = make(
        SCHEDULES, "schedule", Named(name=named.name, **options), epochs=epochs, then=then
    )
    return result


def check(member: Member, recipe: Recipe) -> None:
    """Everything the member and the recipe name exists and takes its options: raised before any work starts."""
    with torch.device("meta"):
        net = make_net(member, classes=2)
        make(OPTIMIZERS, "optimizer", recipe.optimizer, params=net.parameters())
        try:
            net(torch.empty(2, 3, *recipe.size))
        except RuntimeError as e:
            raise ConfigError(f"member {member.name!r} cannot take images of {list(recipe.size)}: {e}") from e
    make_losses(recipe, dim=net.dim, classes=2)
    make_augments(recipe, np.zeros((1, *recipe.size, 3), np.uint8))
    make_schedule(recipe)
