"""Train one member: images and labels in, weights out. One readable loop."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as save_safetensors
from torch import Tensor

from configs.console.epoch_cells import epoch_cells, epoch_text
from configs.console.progress import Progress, duration
from configs.console.signals import Stopped, deferred_stop
from configs.errors import TrainingError
from configs.recipe import ALL
from configs.schema import Member, Recipe
from configs.store.atomic_files import write_file, write_text
from models.data.balance import Training
from models.data.feature_feed import FeatureFeed
from models.data.feed import BatchSource, Feed, Turn, make_feed
from models.data.pk_sampler import Sampling
from models.device import computing
from models.distributed.process_group import ALONE, ProcessGroup
from models.training.checkpoint import load_checkpoint
from models.training.epoch_metrics import EpochMetrics, TrainingPosition
from models.training.frozen_features import load_frozen
from models.training.keeper import EPOCHS, Keeper
from models.training.launch import Body, choose_launch, compiled, make_launch
from models.training.numeric_checks import NonFiniteBatch, check_weights, collapse_warning
from models.training.param_groups import backbone_held
from models.training.setup import Run, set_up, start
from models.training.step import Step
from models.training.tally import Tally

WEIGHTS, LABELS = "weights.safetensors", "labels.json"


@dataclass(frozen=True)
class Inputs:
    """The training inputs. features: of a frozen backbone, used instead of images; may be empty. workers: loaders."""

    training: Training
    images: NDArray[np.uint8]
    features: Sequence[NDArray[np.float32]]
    workers: int


@dataclass(frozen=True)
class Loop:
    """The objects of the training loop. turns: remaining batches. launch: runs a step. keeper: saves checkpoints."""

    run: Run
    sampling: Sampling
    turns: Iterator[Turn]
    launch: Body
    tally: Tally
    keeper: Keeper


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
    frozen: Path | None = None,
    team: ProcessGroup = ALONE,
) -> None:
    """Train a member. Writes weights, class list, metrics and the report of the initial weights to `folder`.

    Args:
        training: whom to tell apart. images: (N, H, W, 3) uint8 in the same order.
        folder: an earlier attempt's checkpoint in it is gone on from.
        pretrained: kept weights for the backbone, or None for random ones.
        frozen: with `freeze: all`, the backbone's features of the images (`models/training/frozen_features.py`).
        team: the processes of data-parallel training. Each calls this function; only the leader writes.

    Raises:
        ConfigError: the batch cannot be divided between them, or the launch mode is not available.
        TrainingError: a loss, feature, gradient or weight is not finite; the message names epoch, batch and images.
    """
    if (recipe.freeze == ALL) != (frozen is not None):
        raise ValueError(f"{member.name}: recipe.freeze is {recipe.freeze!r}, and features given are {frozen}")
    net = start(member, recipe, len(training.pids), folder, pretrained, progress, team)
    begun = time.monotonic()
    with computing(device):
        run = set_up(net, recipe, len(training.pids), images, device, precision, team, training.counts)
        point = load_checkpoint(folder, net, run.optimizer, run.scaler, run.learned, say=progress.say)
        team.check_same("the checkpoint to go on from", str(point))
        if point != TrainingPosition() and team.is_leader:
            progress.say(f"  {member.name}: going on after {point} of {recipe.epochs}")
            write_text(folder / EPOCHS, point.text)
        told = {"member": member.name, "epochs": recipe.epochs}
        progress.event("training", **told, done=point.epoch, images=len(images), metrics=str(folder / EPOCHS))
        with Keeper(run, member.name, folder) as keeper:
            inputs = Inputs(training, images, load_frozen(frozen) if frozen else [], workers)
            point = _train(run, member.name, inputs, point, keeper, progress)
            keeper.wait()
        if team.is_leader:
            _keep(run.ema.state() if run.ema else net.state_dict(), training, folder, member.name)
            progress.say(f"  {member.name}: {_described(point)}, {duration(time.monotonic() - begun)}")


def _train(
    run: Run, name: str, inputs: Inputs, point: TrainingPosition, keeper: Keeper, progress: Progress
) -> TrainingPosition:
    """Run the remaining epochs: first those of the head alone, then those of the whole network."""
    recipe = run.recipe
    with progress.task(f"{name}, epochs", recipe.epochs, point.epoch) as step, deferred_stop() as own:

        def asked() -> tuple[int, bool]:
            """The signal to stop (0 for none), and whether a checkpoint is overdue. Equal in all processes."""
            word = run.team.all_reduce_max(2 * own() + keeper.overdue)
            return word // 2, bool(word % 2)

        for end, head_alone in ((recipe.head_epochs, True), (recipe.epochs, False)):
            if point.epoch < end:
                with backbone_held(run.net, head_alone):
                    point = _to_epoch(end, run, name, inputs, point, keeper, progress, step, asked)
                gc.collect()  # the data-parallel wrapper holds the parameters until it is freed
    return point


def _to_epoch(
    end: int,
    run: Run,
    name: str,
    inputs: Inputs,
    point: TrainingPosition,
    keeper: Keeper,
    progress: Progress,
    step: Callable[[float], None],
    asked: Callable[[], tuple[int, bool]],
) -> TrainingPosition:
    """Run the epochs up to `end`. They all train the same parameters."""
    collapsed = False
    with _loop(run, inputs, point, end, keeper, progress) as loop:
        while point.epoch < end:
            reached = _epoch(loop, point, step, asked)
            if isinstance(reached, NonFiniteBatch):
                rows = loop.sampling.rows(point.epoch)
                seen = [inputs.training.split.names[i] for i in rows[reached.batch]]
                raise TrainingError(reached.message(name, run.recipe, seen, point.epoch, len(rows)))
            point, (stop, overdue) = reached, asked()
            if stop or overdue or keeper.due(point):
                keeper.keep(point)
            keeper.measured(point)
            if not point.batch:
                metrics = json.loads(point.lines[-1])
                progress.event("epoch", member=name, epochs=run.recipe.epochs, **metrics)
                collapsed = _warn(name, metrics["apart"], point, progress, before=collapsed)
            if stop:
                keeper.wait()
                raise Stopped(stop, f"{name} is saved after {point}")
    return point


@contextmanager
def _loop(
    run: Run, inputs: Inputs, point: TrainingPosition, end: int, keeper: Keeper, progress: Progress
) -> Iterator[Loop]:
    """Prepare the training loop. Inside this context, batches are prepared in advance."""
    recipe, base, training = run.recipe, run.optimizer.defaults["lr"], inputs.training
    sampling = Sampling(
        training.labels, recipe.identities_per_batch, recipe.images_per_identity, recipe.seed, training.doubled
    )
    share = run.team.shard(sampling.batch)
    source = BatchSource(
        inputs.images, sampling, run.augments, lambda t: base * run.rate(t), share, run.device, len(run.net.paths)
    )
    kind = recipe.feed_on(run.device.type)
    feed: Feed = (
        FeatureFeed(source, inputs.features)
        if inputs.features
        else make_feed(source, kind, inputs.workers, progress.say)
    )
    how = choose_launch(recipe.launch, run.device, run.team, progress.say)
    tally = Tally(tuple(run.losses), sampling.batch, run.net, run.device)
    step = Step(run, tally, compiled(run.forward(), how))
    launch = make_launch(lambda tensors: step(*feed.unpack(tensors)), how, run.device, run.team, progress.say)
    turns = feed.turns(point.epoch, point.batch, end)
    with closing(turns):
        yield Loop(run, sampling, turns, launch, tally, keeper)


def _epoch(
    loop: Loop,
    point: TrainingPosition,
    step: Callable[[float], None],
    asked: Callable[[], tuple[int, bool]] = lambda: (0, False),
) -> TrainingPosition | NonFiniteBatch:
    """Run batches until the epoch ends, a stop is requested, or a check finds non-finite values.

    The device is checked at regular steps, before a checkpoint, and at the end of an epoch.
    """
    run, tally = loop.run, loop.tally
    run.net.train()
    metrics = point.sums or EpochMetrics(point.epoch + 1, terms=dict.fromkeys(run.losses, 0.0))
    tally.begin(metrics)
    begun = time.monotonic() - metrics.seconds
    for turn in loop.turns:
        loop.launch(turn.tensors)
        metrics.images, metrics.lr = metrics.images + tally.batch, turn.rate
        step(1 / turn.batches)
        stop, overdue = (0, False) if turn.last else asked()
        look = turn.last or stop or overdue or (turn.batch + 1) % tally.look_every == 0
        if look and (broken := tally.look(metrics)):
            return broken
        metrics.seconds = time.monotonic() - begun
        if look and run.warmup is not None:
            metrics.lr = float(run.warmup.used)
        if turn.last:
            break
        within = point.within(turn.batch + 1, metrics)
        if stop:
            return within
        if overdue:
            loop.keeper.keep(within)
    return point.finished(metrics.done(metrics.seconds))


def _described(point: TrainingPosition) -> str:
    """A summary of the last epoch."""
    last = json.loads(point.lines[-1])
    rate = last["images"] / last["seconds"]
    return f"{epoch_text(epoch_cells(last))}, accuracy {last['accuracy']:.2f}, {rate:.0f} images/s"


def _warn(name: str, apart: float, point: TrainingPosition, progress: Progress, *, before: bool) -> bool:
    """Whether the features have collapsed. Prints a warning unless they had `before`."""
    warning = collapse_warning(name, apart, point.epoch)
    if warning and not before:
        progress.say(warning)
    return warning is not None


def _keep(weights: Mapping[str, Tensor], training: Training, folder: Path, name: str) -> None:
    """Write the weights, and the identity of each row of the classifier. Non-finite weights are an error."""
    state = {k: v.contiguous() for k, v in weights.items()}
    check_weights(name, state, "the last step")
    write_text(folder / LABELS, json.dumps({"pids": training.pids}) + "\n")
    write_file(folder / WEIGHTS, save_safetensors(state))
