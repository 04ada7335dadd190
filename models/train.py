"""Train one member: images and labels in, weights out. One readable loop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from configs.errors import TrainingError
from configs.progress import Progress, duration
from configs.schema import Member, Recipe
from models import registry
from models.checkpoint import load_checkpoint, save_checkpoint, write_flushed
from models.data.balance import Training
from models.data.batches import epoch_loader, normalise
from models.device import autocast
from models.losses import Learner
from models.net import Net, Output
from models.pretrained import load_weights

WEIGHTS, LABELS, EPOCHS, STARTED_FROM = "weights.safetensors", "labels.json", "epochs.jsonl", "pretrained.json"
Losses = dict[str, tuple[float, Callable[..., Tensor]]]


@dataclass
class EpochMetrics:
    """One line of `epochs.jsonl`; means over the epoch's images."""

    epoch: int
    lr: float = 0.0
    loss: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    accuracy: float = 0.0
    images: int = 0
    seconds: float = 0.0


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
    net = _start(member, recipe, len(training.pids), folder, pretrained, progress).to(device)
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    trained = [p for p in net.parameters() if p.requires_grad]
    optimizer = registry.make(registry.OPTIMIZERS, "optimizer", recipe.optimizer, params=trained)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
    losses = registry.make_losses(recipe, dim=net.dim, classes=len(training.pids))
    learned = nn.ModuleDict({name: loss for name, (_, loss) in losses.items() if isinstance(loss, nn.Module)})
    done = load_checkpoint(folder, net, optimizer, scaler, learned.to(device))
    if done:
        progress.say(f"  {member.name}: going on after epoch {done} of {recipe.epochs}")
    lines = _lines_until(folder / EPOCHS, done)
    rate, augments = registry.make_schedule(recipe), registry.make_augments(recipe, images)
    begun = time.monotonic()
    with progress.task(f"{member.name}, epochs", recipe.epochs) as step:
        step(done)
        for epoch in range(done, recipe.epochs):
            loader = epoch_loader(
                images,
                training.labels,
                augments,
                identities=recipe.identities_per_batch,
                per_identity=recipe.images_per_identity,
                seed=recipe.seed,
                epoch=epoch,
                workers=workers,
                pin=device.type == "cuda",
            )
            metrics = _epoch(net, loader, losses, optimizer, scaler, rate, recipe, epoch, device, precision, step)
            if metrics is None:
                raise TrainingError(_where_it_broke(member, recipe, training, loader, epoch))
            lines.append(json.dumps(asdict(metrics)))
            write_flushed(folder / EPOCHS, ("\n".join(lines) + "\n").encode())
            if (epoch + 1) % recipe.checkpoint_every == 0 or epoch + 1 == recipe.epochs:
                save_checkpoint(folder, epoch + 1, net, optimizer, scaler, learned)
    (folder / LABELS).write_text(json.dumps({"pids": training.pids}) + "\n", encoding="utf-8")
    write_flushed(folder / WEIGHTS, save_safetensors({k: v.contiguous() for k, v in net.state_dict().items()}))
    last = json.loads(lines[-1])
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
        if pretrained is not None and member.weights is not None:
            report = load_weights(net.backbone, pretrained, member.weights)
            progress.say(f"  {member.name}: {report}")
            (folder / STARTED_FROM).write_text(json.dumps(report.as_dict(), indent=1), encoding="utf-8")
    return net


def _epoch(
    net: nn.Module,
    loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor]],
    losses: Losses,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    rate: Callable[[float], float],
    recipe: Recipe,
    epoch: int,
    device: torch.device,
    precision: str,
    step: Callable[[float], None],
) -> EpochMetrics | None:
    """One pass over the loader; None as soon as a loss is not finite."""
    net.train()
    base = optimizer.defaults["lr"]
    metrics = EpochMetrics(epoch + 1, terms=dict.fromkeys(losses, 0.0))
    begun = time.monotonic()
    for batch, (raw, labels) in enumerate(loader):
        t = epoch + (batch + 1) / len(loader)
        for group in optimizer.param_groups:
            group["lr"] = metrics.lr = base * rate(t)
        labels = labels.to(device, non_blocking=True)
        with autocast(device, precision):
            output = net(normalise(raw, device, channels_last=recipe.channels_last))
        terms = {name: loss(output, labels, t) for name, (_, loss) in losses.items()}
        total = torch.stack([losses[name][0] * term for name, term in terms.items()]).sum()
        if not torch.isfinite(total):
            return None
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()
        for _, loss in losses.values():
            if isinstance(loss, Learner):
                loss.learn(output, labels)
        _add(metrics, len(labels), total.item(), terms, output, labels)
        step(1 / len(loader))
    _divide(metrics)
    metrics.seconds = time.monotonic() - begun
    return metrics


def _add(m: EpochMetrics, n: int, total: float, terms: dict[str, Tensor], output: Output, labels: Tensor) -> None:
    m.images += n
    m.loss += n * total
    for name, term in terms.items():
        m.terms[name] += n * term.item()
    if output.logits:
        m.accuracy += (output.logits[0].argmax(dim=1) == labels).sum().item()


def _divide(m: EpochMetrics) -> None:
    m.loss, m.accuracy = m.loss / m.images, m.accuracy / m.images
    m.terms = {k: v / m.images for k, v in m.terms.items()}


def _lines_until(path: Path, epoch: int) -> list[str]:
    """The metrics of the epochs that a checkpoint holds; those past it are measured again."""
    if epoch == 0 or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if json.loads(line)["epoch"] <= epoch]


def _where_it_broke(
    member: Member,
    recipe: Recipe,
    training: Training,
    loader: torch.utils.data.DataLoader[tuple[Tensor, Tensor]],
    epoch: int,
) -> str:
    names = [training.split.names[i] for i in loader.dataset.rows[0][:3]]  # type: ignore[attr-defined]
    return (
        f"{member.name}: the loss is not a finite number in epoch {epoch + 1} (images {', '.join(names)} ...). "
        f"Lower the rate (--set recipe.optimizer.lr={recipe.optimizer.options.get('lr', math.nan) / 10:g}) "
        "or compute in float32 (--set recipe.precision=float32)"
    )
