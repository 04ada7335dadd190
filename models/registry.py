"""Registries of everything that a configuration can name. A new entry is a file with the code, and one line here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.recipe import LINEAR
from configs.schema import ComponentConfig, Member, Recipe
from models import lr_schedules
from models.backbones.timm_backbone import hub_of, resampling_of, timm_map
from models.data import augment
from models.data.images import PLAIN
from models.heads.classifiers import CosineClassifier, linear
from models.heads.global_head import GlobalHead
from models.heads.token import TokenHead
from models.losses.center import CenterLoss
from models.losses.circle import circle_loss
from models.losses.focal import focal_loss
from models.losses.identity import identity_loss
from models.losses.margin import arcface_loss, cosface_loss
from models.losses.supcon import supcon_loss
from models.losses.triplet import triplet_loss
from models.net import Net
from models.training import optimizers
from models.training.param_groups import freeze, param_groups

Table = Mapping[str, Callable[..., Any]]


class Later:
    """An entry that is imported at its first use: its file imports torchvision, which takes more than a second."""

    def __init__(self, module: str, name: str) -> None:
        """module: in this package, such as heads.mgn. name: of the entry in the module."""
        self.module, self.name = f"{__package__}.{module}", name

    @cached_property
    def row(self) -> Callable[..., Any]:
        """The entry itself."""
        found: Callable[..., Any] = getattr(import_module(self.module), self.name)
        return found

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.row)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.row(*args, **options)


BACKBONES: Table = {"resnet": Later("backbones.resnet", "resnet"), "timm": timm_map}
HEADS: Table = {
    "global": GlobalHead,
    "mgn": Later("heads.mgn", "mgn"),
    "mgn_grid": Later("heads.mgn", "mgn_grid"),
    "rmgl": Later("heads.rmgl", "rmgl"),
    "token": TokenHead,
}
CLASSIFIERS: Table = {"linear": linear, "cosine": CosineClassifier}
LOSSES: Table = {
    "id": identity_loss,
    "focal": focal_loss,
    "arcface": arcface_loss,
    "cosface": cosface_loss,
    "triplet": triplet_loss,
    "circle": circle_loss,
    "supcon": supcon_loss,
    "center": CenterLoss,
}
AUGMENTS: Table = {
    "flip": augment.flip,
    "pad_crop": augment.pad_crop,
    "affine": augment.affine,
    "random_shift": augment.random_shift,
    "colour_jitter": augment.color_jitter,
    "random_patch": augment.random_patch,
    "erase": augment.random_erasing,
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
OPTIMIZERS: Table = {"adam": optimizers.adam, "adamw": optimizers.adamw, "sgd": optimizers.sgd}


def make(table: Table, what: str, named: ComponentConfig, **given: Any) -> Any:
    """Call the named entry with its options, and with those arguments in `given` that it accepts.

    Raises:
        ConfigError: unknown entry, unknown option, or a value that the entry refuses.
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


def make_net(member: Member, classes: int, classifier: ComponentConfig = LINEAR, drop_path: float = 0.0) -> Net:
    """The member's network with random weights, at the size of its published weights. `Net.resize` changes the size.

    Args:
        drop_path: rate of stochastic depth in training.

    Raises:
        ConfigError: unknown backbone, head or classifier, or an option that it does not have or refuses.
    """
    backbone = make(BACKBONES, "backbone", member.backbone, drop_path=drop_path)
    if drop_path and "drop_path" not in inspect.signature(BACKBONES[member.backbone.name]).parameters:
        raise ConfigError(f"backbone {member.backbone.name!r} has no drop path; take recipe.drop_path: 0 for it")

    def classify(width: int, classes: int) -> torch.nn.Module:
        made: torch.nn.Module = make(CLASSIFIERS, "classifier", classifier, width=width, classes=classes)
        return made

    known = {"channels": backbone.channels, "classes": classes, "backbone": backbone, "classifier": classify}
    head = HEADS.get(member.head.name)
    if classifier != LINEAR and head is not None and "classifier" not in inspect.signature(head).parameters:
        raise ConfigError(
            f"head {member.head.name!r} makes its own classifier, so it cannot have recipe.classifier "
            f"{classifier.name!r}; set recipe.classifier=linear, or let the head take a `classifier`"
        )
    return Net(backbone, make(HEADS, "head", member.head, **known))


def make_losses(
    recipe: Recipe, *, dim: int, classes: int, counts: Sequence[int] | None = None
) -> dict[str, tuple[float, Callable[..., torch.Tensor]]]:
    """Name -> (weight, loss), as in `recipe.losses`, for features (B, dim) and `classes` classes.

    Args:
        counts: images per class. Without them, a loss that needs them is refused.

    Raises:
        ConfigError: unknown loss, an option that it does not have or refuses, or a cosine loss without a cosine
            classifier.
    """
    scale = getattr(make(CLASSIFIERS, "classifier", recipe.classifier, width=1, classes=1), "scale", None)
    losses = {}
    for name, options in recipe.losses.items():
        rest = dict(options)
        weight = rest.pop("weight", 1.0)
        known = {"epochs": recipe.epochs, "dim": dim, "classes": classes, "counts": counts, "scale": scale}
        if scale is None and name in LOSSES and "scale" in inspect.signature(LOSSES[name]).parameters:
            raise ConfigError(
                f"loss {name!r} works on cosines, and recipe.classifier is {recipe.classifier.name!r}; "
                "--set 'recipe.classifier={name: cosine, scale: 30}'"
            )
        losses[name] = (float(weight), make(LOSSES, "loss", ComponentConfig(name=name, **rest), **known))
    return losses


def make_augments(recipe: Recipe, images: NDArray[np.uint8]) -> list[augment.Augment]:
    """The augmentations in order, for training images (N, H, W, 3) in their fixed order."""
    return [make(AUGMENTS, "augmentation", named, images=images, seed=recipe.seed) for named in recipe.augment]


def make_schedule(recipe: Recipe) -> lr_schedules.Schedule:
    """A function: time t in epochs -> factor on the base rate."""
    return _schedule(recipe.schedule, recipe.epochs)


def _schedule(named: ComponentConfig, epochs: float) -> lr_schedules.Schedule:
    """A schedule over `epochs` epochs. A warm-up's option `then` names the schedule that follows it."""
    options = named.options
    warms = named.name in SCHEDULES and "then" in inspect.signature(SCHEDULES[named.name]).parameters
    following = options.pop("then", "constant") if warms else None

    def then(left: float) -> lr_schedules.Schedule:
        return _schedule(ComponentConfig.model_validate(following), left)

    result: lr_schedules.Schedule = make(
        SCHEDULES, "schedule", ComponentConfig(name=named.name, **options), epochs=epochs, then=then
    )
    return result


def check(member: Member, recipe: Recipe) -> None:
    """Check, before any work, that everything named by the member and the recipe exists and accepts its options.

    Raises:
        ConfigError: something does not.
    """
    with torch.device("meta"):
        net = make_net(member, 2, recipe.classifier, recipe.drop_path)
        _check_start(member, recipe)
        _check_frozen(member, recipe)
        try:
            net.resize(recipe.size)
            net.draw_paths(torch.zeros(2, len(net.paths)))
            net(torch.empty(2, 3, *recipe.size))
        except (AssertionError, RuntimeError, TypeError, ValueError) as e:
            own = getattr(net.backbone, "own_size", None)
            made = f". It was made for --set members.{member.name}.size={list(own)}" if own else ""
            raise ConfigError(
                f"member {member.name!r} cannot take images of {list(recipe.size)}: "
                f"{' '.join(str(e).split())[:300]}{made}"
            ) from e
        freeze(net, recipe)
        make(OPTIMIZERS, "optimizer", recipe.optimizer, params=param_groups(net, recipe))
    make_losses(recipe, dim=net.dim, classes=2, counts=(1, 2))
    make_augments(recipe, np.zeros((1, *recipe.size, 3), np.uint8))
    make_schedule(recipe)


def resampling(member: Member) -> str:
    """The filter for resizing this member's images: that of its published timm model, else bilinear."""
    return resampling_of(member.backbone.options.get("model", "")) if member.backbone.name == "timm" else PLAIN


def _check_start(member: Member, recipe: Recipe) -> None:
    """Check that a pretrained timm model has weights: random weights would be a surprise.

    Raises:
        ConfigError: the recipe wants pretrained weights, and the member names none.
    """
    if member.backbone.name != "timm" or member.weights or not recipe.pretrained:
        return
    hub = hub_of(str(member.backbone.options.get("model")))
    own = f"members.{member.name}.weights"
    raise ConfigError(
        f"member {member.name!r}: recipe.pretrained is true, and nothing says where its weights are. --set "
        f"'{own}={{file: model.safetensors}}' takes a file as timm publishes it"
        + (f", '{own}={{hub: {hub}, revision: COMMIT}}' fetches timm's" if hub else "")
        + f", '{own}={{url: ..., sha256: ...}}' fetches any; or train from random weights with "
        f"--set 'members.{member.name}.recipe={{pretrained: false}}'"
    )


def _check_frozen(member: Member, recipe: Recipe) -> None:
    """Check that no random weights are frozen.

    Raises:
        ConfigError: the recipe freezes random weights.
    """
    key = "freeze" if recipe.freeze is not None else "head_epochs" if recipe.head_epochs else ""
    if key and not (recipe.pretrained and member.weights):
        raise ConfigError(
            f"member {member.name!r}: recipe.{key} keeps a backbone's weights, and it starts from random ones "
            f"(pretrained is {str(recipe.pretrained).lower()}, weights {'are' if member.weights else 'are not'} "
            f"named); name weights, or leave {key} out"
        )
