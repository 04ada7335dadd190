"""Train one member: images and labels in, weights out. One readable loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor
from torch.utils.data import DataLoader

from configs.disk import write_file, write_text
from configs.errors import TrainingError
from configs.progress import Progress, duration
from configs.schema import Member, Recipe
from configs.stopping import Stopped, at_a_good_moment
from models.checkpoint import load_checkpoint, save_checkpoint
from models.data.balance import Training
from models.data.batches import epoch_loader, normalise
from models.device import autocast
from models.epochs import EpochMetrics, Point
from models.losses import Learner
from models.net import Net
from models.run import Run, set_up, start
from models.sound import Broken, broken_gradients, broken_output, check_weights, collapse
from models.team import ALONE, Team
from models.together import whole_batch

WEIGHTS, LABELS, EPOCHS = "weights.safetensors", "labels.json", "epochs.jsonl"


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
    team: Team = ALONE,
) -> None:
    """Train, and leave weights, class list, metrics and the report of the weights it started from in `folder`.

    Args:
        training: whom to tell apart. images: (N, H, W, 3) uint8 in the same order.
        folder: an earlier attempt's checkpoint in it is gone on from.
        pretrained: kept weights for the backbone, or None for random ones.
        team: the processes that train it together, all of which call this; only the one that leads writes.

    Raises:
        ConfigError: a batch that they cannot share.
        TrainingError: a loss, feature, gradient or weight is not finite; the message names epoch, batch and images.
    """
    net = start(member, recipe, len(training.pids), folder, pretrained, progress, team)
    run = set_up(net, recipe, len(training.pids), images, device, precision, team)
    point = load_checkpoint(folder, net, run.optimizer, run.scaler, run.learned, say=progress.say)
    team.check_same("the checkpoint to go on from", str(point))
    if point != Point() and team.leads:
        progress.say(f"  {member.name}: going on after {point} of {recipe.epochs}")
        write_text(folder / EPOCHS, point.text)
    told = {"member": member.name, "epochs": recipe.epochs}
    progress.event("training", **told, done=point.epoch, images=len(images), metrics=str(folder / EPOCHS))
    begun, collapsed = time.monotonic(), False
    with progress.task(f"{member.name}, epochs", recipe.epochs, point.epoch) as step, at_a_good_moment() as own:

        def asked() -> int:
            return team.most(own())

        while point.epoch < recipe.epochs:
            loader = _loader(run, training, images, point, workers)
            reached = _epoch(run, loader, point, step, asked)
            if isinstance(reached, Broken):
                rows = loader.dataset.rows  # type: ignore[attr-defined]
                seen = [training.split.names[i] for i in rows[reached.batch]]
                raise TrainingError(reached.told(member.name, recipe, seen, point.epoch, len(rows)))
            point, stop = reached, asked()
            _write_down(run, point, folder, member.name, asked_to_stop=bool(stop))
            if not point.batch:
                metrics = json.loads(point.lines[-1])
                progress.event("epoch", **told | metrics)
                collapsed = _warn(member.name, metrics["apart"], point, progress, before=collapsed)
            if stop:
                raise Stopped(stop, f"{member.name} is saved after {point}")
    if team.leads:
        _keep(net, training, folder, member.name)
        progress.say(f"  {member.name}: {_described(point)}, {duration(time.monotonic() - begun)}")


def _write_down(run: Run, point: Point, folder: Path, name: str, *, asked_to_stop: bool) -> None:
    """A checkpoint where one is due, of weights that are numbers, and the metrics so far."""
    if asked_to_stop or point.epoch % run.recipe.checkpoint_every == 0:
        check_weights(name, run.net.state_dict(), str(point))
        if run.team.leads:
            save_checkpoint(folder, point, run.net, run.optimizer, run.scaler, run.learned)
    if run.team.leads:
        write_text(folder / EPOCHS, point.text)


def _described(point: Point) -> str:
    """The last epoch in words."""
    last = json.loads(point.lines[-1])
    rate = last["images"] / last["seconds"]
    return f"loss {last['loss']:.3f}, accuracy {last['accuracy']:.2f}, {rate:.0f} images/s"


def _warn(name: str, apart: float, point: Point, progress: Progress, *, before: bool) -> bool:
    """Whether the features have collapsed, which is said when they had not `before`."""
    warning = collapse(name, apart, point.epoch)
    if warning and not before:
        progress.say(warning)
    return warning is not None


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
        share=run.team.part(run.recipe.identities_per_batch * run.recipe.images_per_identity),
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
) -> Point | Broken:
    """One pass over the loader, to its end, to where it was asked to stop, or to a batch whose numbers are wrong."""
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
            output = run.forward(normalise(raw, run.device, channels_last=run.recipe.channels_last))
        output, labels = whole_batch(output, labels, run.team)
        terms = {name: loss(output, labels, t) for name, (_, loss) in run.losses.items()}
        total = torch.stack([run.losses[name][0] * term for name, term in terms.items()]).sum()
        if broken := broken_output(batch, output, terms, total):
            return broken
        run.optimizer.zero_grad(set_to_none=True)
        run.scaler.scale(total).backward()
        if not run.scaler.is_enabled() and (broken := broken_gradients(batch, run.net)):  # a scaler passes over those
            return broken
        run.scaler.step(run.optimizer)
        run.scaler.update()
        for _, loss in run.losses.values():
            if isinstance(loss, Learner):
                loss.learn(output, labels, torch.zeros((), dtype=torch.bool, device=run.device))
        metrics.add(total, terms, output, labels)
        step(1 / batches)
        if asked() and batch + 1 < batches:
            metrics.seconds = time.monotonic() - begun
            return point.within(batch + 1, metrics)
    return point.finished(metrics.done(time.monotonic() - begun))


def _keep(net: Net, training: Training, folder: Path, name: str) -> None:
    """Write the weights and whom each row of the classifier stands for; weights that are no numbers are refused."""
    state = {k: v.contiguous() for k, v in net.state_dict().items()}
    check_weights(name, state, "the last step")
    write_text(folder / LABELS, json.dumps({"pids": training.pids}) + "\n")
    write_file(folder / WEIGHTS, save_safetensors(state))
