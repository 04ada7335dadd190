"""Train one member: images and labels in, weights out. One readable loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.utils.data import DataLoader

from configs.disk import write_file, write_text
from configs.errors import ConfigError, TrainingError
from configs.progress import Progress, duration
from configs.schema import Member, Recipe
from configs.stopping import Stopped, at_a_good_moment
from models import registry
from models.backbones.resnet import Trunk
from models.checkpoint import load_checkpoint, save_checkpoint
from models.data.augment import Augment
from models.data.balance import Training
from models.data.batches import epoch_loader, normalise
from models.device import autocast
from models.epochs import EpochMetrics, Point
from models.losses import Learner
from models.net import Net
from models.pretrained import load_weights

WEIGHTS, LABELS, EPOCHS, STARTED_FROM = "weights.safetensors", "labels.json", "epochs.jsonl", "pretrained.json"
Losses = dict[str, tuple[float, Callable[..., Tensor]]]


@dataclass(frozen=True)
class Run:
    """What each step of one training needs."""

    net: Net
    losses: Losses
    learned: nn.ModuleDict  # those of the losses that learn something of their own
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rate: Callable[[float], float]
    augments: list[Augment]
    recipe: Recipe
    device: torch.device
    precision: str


def train_member(
    member: Member,
    recipe: Recipe,
    training: Training,
    images: NDArray[np.uint8],
    folder: Path,
    *,
    device: torch.device,
    precision: str,
    workers: int,
    progress: Progress,
    pretrained: Path | None,
) -> None:
    """Train, and leave weights, class list, metrics and the report of the weights it started from in `folder`.

    Args:
        training: whom to tell apart. images: (N, H, W, 3) uint8 in the same order.
        folder: an earlier attempt's checkpoint in it is gone on from.
        pretrained: kept weights for the backbone, or None for random ones.

    Raises:
        TrainingError: the loss is not finite; the message names epoch, batch and images.
    """
    net = _start(member, recipe, len(training.pids), folder, pretrained, progress)
    run = _set_up(net, recipe, len(training.pids), images, device, precision)
    point = load_checkpoint(folder, net, run.optimizer, run.scaler, run.learned, say=progress.say)
    if point != Point():
        progress.say(f"  {member.name}: going on after {point} of {recipe.epochs}")
        write_text(folder / EPOCHS, point.text)
    told = {"member": member.name, "epochs": recipe.epochs}
    progress.event("training", **told, done=point.epoch, images=len(images), metrics=str(folder / EPOCHS))
    begun = time.monotonic()
    with progress.task(f"{member.name}, epochs", recipe.epochs, point.epoch) as step, at_a_good_moment() as asked:
        while point.epoch < recipe.epochs:
            loader = _loader(run, training, images, point, workers)
            reached = _epoch(run, loader, point, step, asked)
            if isinstance(reached, int):
                raise TrainingError(_where_it_broke(member, recipe, training, loader, point.epoch, reached))
            point, stop = reached, asked()
            write_text(folder / EPOCHS, point.text)
            if not point.batch:
                progress.event("epoch", **told | json.loads(point.lines[-1]))
            if stop or point.epoch % recipe.checkpoint_every == 0:
                save_checkpoint(folder, point, net, run.optimizer, run.scaler, run.learned)
            if stop:
                raise Stopped(stop, f"{member.name} is saved after {point}")
    _keep(net, training, folder, member.name)
    last = json.loads(point.lines[-1])
    progress.say(
        f"  {member.name}: loss {last['loss']:.3f}, accuracy {last['accuracy']:.2f}, "
        f"{last['images'] / last['seconds']:.0f} images/s, {duration(time.monotonic() - begun)}"
    )


def _start(
    member: Member, recipe: Recipe, classes: int, folder: Path, pretrained: Path | None, progress: Progress
) -> Net:
    """The network before the first step: random by the recipe's seed, then the pretrained weights."""
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = registry.make_net(member, classes)
        if recipe.zero_init_residual and pretrained is None:
            zero_residuals(net, member)
        if pretrained is not None and member.weights is not None:
            report = load_weights(net.backbone, pretrained, member.weights)
            net.branch_off()
            progress.say(f"  {member.name}: {report}")
            write_text(folder / STARTED_FROM, json.dumps(report.as_dict(), indent=1))
    return net


def zero_residuals(net: Net, member: Member) -> None:
    """Start every residual branch at zero, those of the head's branches too.

    Raises:
        ConfigError: the backbone is of another family.
    """
    if not isinstance(net.backbone, Trunk):
        raise ConfigError(
            f"{member.name}: zero_init_residual is for the resnet family, not {member.backbone.name!r}; "
            "--set recipe.zero_init_residual=false"
        )
    net.backbone.zero_residuals()
    net.branch_off()


def _set_up(
    net: Net, recipe: Recipe, classes: int, images: NDArray[np.uint8], device: torch.device, precision: str
) -> Run:
    """Lay the network on its device, and make what trains it."""
    net.to(device)
    if recipe.channels_last:
        net.to(memory_format=torch.channels_last)
    trained = [p for p in net.parameters() if p.requires_grad]
    losses = registry.make_losses(recipe, dim=net.dim, classes=classes)
    return Run(
        net=net,
        losses=losses,
        learned=nn.ModuleDict({k: v for k, (_, v) in losses.items() if isinstance(v, nn.Module)}).to(device),
        optimizer=registry.make(registry.OPTIMIZERS, "optimizer", recipe.optimizer, params=trained),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "float16"),
        rate=registry.make_schedule(recipe),
        augments=registry.make_augments(recipe, images),
        recipe=recipe,
        device=device,
        precision=precision,
    )


def _loader(
    run: Run, training: Training, images: NDArray[np.uint8], point: Point, workers: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    """The batches of one epoch that are not done yet."""
    return epoch_loader(
        images,
        training.labels,
        run.augments,
        identities=run.recipe.identities_per_batch,
        per_identity=run.recipe.images_per_identity,
        seed=run.recipe.seed,
        epoch=point.epoch,
        doubled=training.doubled,
        workers=workers,
        pin=run.device.type == "cuda",
        begin=point.batch,
    )


def _epoch(
    run: Run,
    loader: DataLoader[tuple[Tensor, Tensor]],
    point: Point,
    step: Callable[[float], None],
    asked: Callable[[], int] = lambda: 0,
) -> Point | int:
    """One pass over the loader, to its end or to where it was asked to stop; the batch whose loss is not finite."""
    run.net.train()
    base, batches = run.optimizer.defaults["lr"], len(loader.dataset)  # type: ignore[arg-type]
    metrics = point.sums or EpochMetrics(point.epoch + 1, terms=dict.fromkeys(run.losses, 0.0))
    begun = time.monotonic() - metrics.seconds
    for batch, (raw, labels) in enumerate(loader, point.batch):
        t = point.epoch + (batch + 1) / batches
        for group in run.optimizer.param_groups:
            group["lr"] = metrics.lr = base * run.rate(t)
        labels = labels.to(run.device, non_blocking=True)
        with autocast(run.device, run.precision):
            output = run.net(normalise(raw, run.device, channels_last=run.recipe.channels_last))
        terms = {name: loss(output, labels, t) for name, (_, loss) in run.losses.items()}
        total = torch.stack([run.losses[name][0] * term for name, term in terms.items()]).sum()
        if not torch.isfinite(total):
            return batch
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(total).backward()
        run.scaler.step(run.optimizer)
        run.scaler.update()
        for _, loss in run.losses.values():
            if isinstance(loss, Learner):
                loss.learn(output, labels)
        metrics.add(total, terms, output, labels)
        step(1 / batches)
        if asked() and batch + 1 < batches:
            metrics.seconds = time.monotonic() - begun
            return point.within(batch + 1, metrics)
    return point.finished(metrics.done(time.monotonic() - begun))


def _keep(net: Net, training: Training, folder: Path, name: str) -> None:
    """Write the weights and whom each row of the classifier stands for; weights that are no numbers are refused."""
    state = {k: v.contiguous() for k, v in net.state_dict().items()}
    broken = [k for k, v in state.items() if not torch.isfinite(v).all()]
    if broken:
        raise TrainingError(
            f"{name}: {len(broken)} of {len(state)} tensors are not finite after the last step, first {broken[0]}. "
            "Lower the rate (--set recipe.optimizer.lr=...)"
        )
    write_text(folder / LABELS, json.dumps({"pids": training.pids}) + "\n")
    write_file(folder / WEIGHTS, save_safetensors(state))


def _where_it_broke(
    member: Member,
    recipe: Recipe,
    training: Training,
    loader: DataLoader[tuple[Tensor, Tensor]],
    epoch: int,
    batch: int,
) -> str:
    rows = loader.dataset.rows  # type: ignore[attr-defined]
    names, of = [training.split.names[i] for i in rows[batch]], len(rows)
    return (
        f"{member.name}: the loss is not a finite number in epoch {epoch + 1}, batch {batch + 1} of {of} "
        f"(images {', '.join(names[:3])} ...). "
        f"Lower the rate (--set recipe.optimizer.lr={recipe.optimizer.options.get('lr', math.nan) / 10:g}) "
        "or compute in float32 (--set recipe.precision=float32)"
    )
