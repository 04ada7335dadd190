"""Groups of parameters: the rate and the weight decay of each, and which are frozen, by the layer that they are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from configs.errors import ConfigError
from configs.recipe import Recipe
from models.backbones.layers import Layers
from models.net import Net

BACKBONE = "backbone"


def param_groups(net: Net, recipe: Recipe) -> list[dict[str, Any]]:
    """The trained parameters, one group for each rate and decay. `scale` is a factor on the recipe's rate.

    `layer_decay` d: of L layers behind the stem, layer i has d^(L + 1 - i) times the rate, the stem is layer 0, the
    head has all of it (Bao et al., ICLR 2022, BEiT, in the form of its code and of timm). The head's is `head_rate`
    times that; its copies of the backbone's blocks count as those blocks.

    Without decay (`decay: matrices`): tensors of one dimension, which are biases and the weights of norms and layer
    scales, and what timm's `no_weight_decay` of the model lists: position embeddings and tables, class and register
    tokens. Dosovitskiy et al. decay all; DeiT, BEiT and MAE decay as here.

    Raises:
        ConfigError: the backbone has no layers to tell apart.
    """
    spared, copies = _spared(net, recipe), _copies(net)
    layers = net_layers(net) if recipe.layer_decay != 1 else None
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, p in net.named_parameters():
        if not p.requires_grad:
            continue
        at = None if layers is None else layers.of.get(name, layers.top)
        scale = 1.0 if layers is None or at is None else recipe.layer_decay ** (layers.top - at)
        if not name.startswith(f"{BACKBONE}.") and name not in copies:
            scale *= recipe.head_rate
        key = scale, spared is not None and (p.ndim <= 1 or name in spared)
        fresh = {"params": [], "scale": scale} | ({"weight_decay": 0.0} if key[1] else {})
        groups.setdefault(key, fresh)["params"].append(p)
    return list(groups.values())


def _spared(net: Net, recipe: Recipe) -> set[str] | None:
    """Parameters of more than one dimension without decay; None where all are decayed."""
    if recipe.decay == "all" or (recipe.decay == "auto" and recipe.optimizer.name != "adamw"):
        return None
    listed = getattr(net.backbone, "undecayed", set[str])()
    return {f"{BACKBONE}.{name}" for name in listed}


def net_layers(net: Net) -> Layers:
    """The layers of a network's parameters; a head's copies of the backbone's blocks are of those blocks' layers.

    Raises:
        ConfigError: the backbone has no layers to tell apart.
    """
    own = getattr(net.backbone, "layers", None)
    if own is None:
        raise ConfigError(
            "recipe.layer_decay and freeze: N go by a backbone's layers, and this one's are not known; it can be "
            "trained with layer_decay: 1, and freeze: all or null"
        )
    try:
        found: Layers = own()
    except (AttributeError, NotImplementedError, TypeError) as e:
        raise ConfigError(f"recipe.layer_decay and freeze: N: timm knows no layers of this model ({e})") from e
    every = {f"{BACKBONE}.{name}": at for name, at in found.of.items()}
    return Layers(every | {name: every[f"{BACKBONE}.{twin}"] for name, twin in _copies(net).items()}, found.top)


def _copies(net: Net) -> dict[str, str]:
    """A parameter of a head's own blocks -> the backbone's that it is a copy of."""
    tails, fork = getattr(net.head, "tails", None), net.fork
    if tails is None or fork is None:
        return {}
    originals, found = net.backbone.tail_names(fork), {}  # type: ignore[operator]
    for name, _ in tails.named_parameters():
        at, _, rest = name.partition(".")[2].removeprefix("layers.").partition(".")
        found[f"head.tails.{name}"] = f"{originals[int(at)]}.{rest}"
    return found


def freeze(net: Net, recipe: Recipe) -> None:
    """Leave the layers alone that the recipe freezes: no gradient, norms by the statistics that they have.

    Raises:
        ConfigError: there are fewer layers.
    """
    if recipe.freeze is None:
        return
    if isinstance(recipe.freeze, str):
        frozen = {f"{BACKBONE}.{name}" for name, _ in net.backbone.named_parameters()}
    else:
        layers = net_layers(net)
        if recipe.freeze >= layers.top:
            raise ConfigError(
                f"recipe.freeze is {recipe.freeze}, and the backbone has {layers.top - 1} blocks or stages; take "
                "fewer, or all"
            )
        frozen = {name for name, at in layers.of.items() if at <= recipe.freeze}
    for name, p in net.named_parameters():
        p.requires_grad_(p.requires_grad and name not in frozen)
    net.still = tuple(name for name, module in net.named_modules() if name and _within(name, module, frozen))
    net.train(net.training)


def _within(name: str, module: nn.Module, frozen: set[str]) -> bool:
    """Whether all parameters of a module are frozen, of which there must be some."""
    own = [f"{name}.{p}" for p, _ in module.named_parameters()]
    return bool(own) and frozen.issuperset(own)


@contextmanager
def backbone_held(net: Net, held: bool) -> Iterator[None]:
    """Inside, where it is `held`, the backbone is frozen whole, its batch norms' statistics too."""
    learning = [p for p in net.backbone.parameters() if p.requires_grad] if held else []
    before, net.still = net.still, (BACKBONE,) if held else net.still
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        net.still = before
        for p in learning:
            p.requires_grad_(True)
