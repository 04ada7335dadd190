"""Set up a training: the network before the first step, losses, optimizer and schedule."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.console.progress import Progress
from configs.errors import ConfigError
from configs.recipe import ALL
from configs.schema import Member, Recipe
from configs.store.atomic_files import write_text
from models import registry
from models.backbones.resnet import Trunk
from models.backbones.timm_backbone import published
from models.data.augment import Augment
from models.distributed.data_parallel import check_shares, spread
from models.distributed.process_group import ALONE, ProcessGroup
from models.lr_schedules import ErrorWarmup
from models.net import Net, Output
from models.training.ema import Ema
from models.training.error_warmup import Warmup
from models.training.param_groups import freeze, param_groups
from models.weights.load import load_weights

STARTED_FROM = "pretrained.json"
Losses = dict[str, tuple[float, Callable[..., Tensor]]]


@dataclass(frozen=True)
class Run:
    """Everything that a training step needs."""

    net: Net
    on_features: bool  # whether a step's input is the backbone's features instead of images
    team: ProcessGroup
    losses: Losses
    learned: nn.ModuleDict  # losses with their own state, the warm-up and the running mean
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rate: Callable[[float], float]
    warmup: Warmup | None  # one that lasts until the training error is low enough
    ema: Ema | None  # a running mean of the weights
    augments: list[Augment]
    recipe: Recipe
    device: torch.device
    precision: str

    def forward(self) -> nn.Module:
        """The module that a step calls: the network or its head alone, wrapped for several processes."""
        return spread(HeadAlone(self.net) if self.on_features else self.net, self.team, self.device)


class HeadAlone(nn.Module):
    """A network whose input is its backbone's features."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, *features: Tensor) -> Output:
        """The output of `Net.features` -> Output."""
        return self.net.output(*features)


def start(
    member: Member,
    recipe: Recipe,
    classes: int,
    folder: Path,
    pretrained: Path | None,
    progress: Progress,
    team: ProcessGroup = ALONE,
) -> Net:
    """The network before the first step: random weights by the recipe's seed, then pretrained weights."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = registry.make_net(member, classes, recipe.classifier, recipe.drop_path)
        if recipe.zero_init_residual and pretrained is None:
            zero_residuals(net, member)
        if pretrained is not None and member.weights is not None:
            report = load_weights(published(net.backbone), pretrained, member.weights)
            net.copy_backbone_weights()
            progress.say(f"  {member.name}: {report}")
            if team.is_leader:
                write_text(folder / STARTED_FROM, json.dumps(report.as_dict(), indent=1))
        net.resize(recipe.size)
    return net


def set_up(
    net: Net,
    recipe: Recipe,
    classes: int,
    images: NDArray[np.uint8],
    device: torch.device,
    precision: str,
    team: ProcessGroup,
    counts: Sequence[int] | None = None,
) -> Run:
    """Move the network to its device, and make everything that trains it. counts: images per class, if known."""
    check_shares(recipe.identities_per_batch, recipe.images_per_identity, team)
    net.to(device)
    if recipe.channels_last:
        net.to(memory_format=torch.channels_last)
    freeze(net, recipe)
    losses = registry.make_losses(recipe, dim=net.dim, classes=classes, counts=counts)
    optimizer, rate = make_optimizer(recipe, net, device), registry.make_schedule(recipe)
    warmup = Warmup(rate, optimizer.defaults["lr"]) if isinstance(rate, ErrorWarmup) else None
    ema = Ema(recipe.ema, net.state_dict()) if recipe.ema is not None else None
    learned = {k: v for k, (_, v) in losses.items() if isinstance(v, nn.Module)}
    learned |= {k: v for k, v in (("warmup", warmup), ("ema", ema)) if v is not None}
    return Run(
        net=net,
        on_features=recipe.freeze == ALL,
        team=team,
        losses=losses,
        learned=nn.ModuleDict(learned).to(device),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "float16"),
        rate=rate,
        warmup=warmup,
        ema=ema,
        augments=registry.make_augments(recipe, images),
        recipe=recipe,
        device=device,
        precision=precision,
    )


def make_optimizer(recipe: Recipe, net: Net, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimizer. On a GPU its learning rates are tensors, which a captured step reads."""
    groups = param_groups(net, recipe)
    optimizer: torch.optim.Optimizer = registry.make(registry.OPTIMIZERS, "optimizer", recipe.optimizer, params=groups)
    if device.type == "cuda":
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], dtype=torch.float32, device=device)
    return optimizer


def zero_residuals(net: Net, member: Member) -> None:
    """Initialise every residual branch at zero, also in the head's branches.

    Raises:
        ConfigError: the backbone is not of the resnet family.
    """
    if not isinstance(net.backbone, Trunk):
        raise ConfigError(
            f"{member.name}: zero_init_residual is for the resnet family, not {member.backbone.name!r}; "
            "--set recipe.zero_init_residual=false"
        )
    net.backbone.zero_residuals()
    net.copy_backbone_weights()
