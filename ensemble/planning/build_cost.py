"""Estimate the cost of a build: disk space, memory and time, per result."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from configs.console.build_progress import wall_seconds
from configs.console.progress import duration
from configs.console.quoting import command, runs_option
from configs.errors import ResultError
from configs.recipe import ALL
from configs.schema import CALIBRATED, EACH_FIRST, Member, Recipe
from configs.store.atomic_files import format_bytes
from configs.store.store import Store
from ensemble.fusion.strategy import fusion_settings
from ensemble.neighbours.knn import NEAR_SHARE
from ensemble.neighbours.search_cost import estimate_search_cost
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.ranking_stage import neighbours_kept
from ensemble.pipeline.stages import BuildPlan, training_of
from ensemble.pipeline.whitening_stage import TRAIN
from ensemble.planning.past_speed import own_rate, thawed, training_rate
from ensemble.planning.planned_results import PlannedResult, list_planned_results
from ensemble.results.manifests import ResultHistory
from models.data.balance import Training
from models.data.split import Split
from models.extraction.views import make_views
from models.model_cost import Footprint, footprint
from models.training.frozen_features import shapes
from models.weights.sources import name_of

HEADER = 128  # bytes before the values of an .npy file
MANIFEST_BYTES = 6000
CALIBRATION_BYTES = 100_000  # of a member: a thousand steps, as text
PROCESS = 600_000_000  # bytes of memory of a process that has imported everything
CONTEXT = 1_000_000_000  # bytes of a GPU's memory that a process takes before its first tensor, and its libraries
EPOCH_BYTES = 260
HEAD_FASTER = 50.0  # training the head alone is assumed to be this many times faster, if it was not measured
PASSES = 3  # cost of training on an image, in forward passes: the backward pass costs two
READ_SECONDS = 1e-3  # per image, decoded and resized
GUESS = {"cpu": 2e11, "cuda": 5e13}  # products per second, if nothing was timed yet
OUTSIDE_DIM = 2048  # assumed feature size of an external member, whose file is not opened here
STEP_SECONDS = 1.0  # maximum duration of a timed step, by GUESS


@dataclass(frozen=True)
class ResultCost:
    """The cost of one result.

    disk: bytes. seconds: time to make it. measured: whether `seconds` comes from a measurement.
    images: processed images, counted in every epoch.
    """

    item: PlannedResult
    disk: int
    seconds: float
    measured: bool
    images: int


@dataclass(frozen=True)
class BuildCost:
    """The cost of a build.

    needs: per result. passing: temporary bytes on the disk while the build runs. memory: peak bytes, of each GPU or of
    the machine. parallel: members made at the same time. apart: devices that they use. stepped: whether the seconds
    come from one timed step of each member.
    """

    needs: tuple[ResultCost, ...]
    passing: int
    memory: int
    device: str = "cpu"
    parallel: int = 1
    apart: int = 1
    stepped: bool = False

    @property
    def left(self) -> list[ResultCost]:
        """The costs of the results that are not cached."""
        return [n for n in self.needs if not n.item.kept]

    @property
    def disk(self) -> int:
        """Bytes that must be free."""
        return sum(n.disk for n in self.left) + (self.passing if self.left else 0)

    @property
    def seconds(self) -> float | None:
        """Time to make the missing results; None if unknown. Members on one device are assumed to take turns."""
        loads = [(n.item.kind, n.item.row, n.seconds) for n in self.left]
        return wall_seconds(loads, self.apart) if all(n.measured for n in self.left) else None

    def __str__(self) -> str:
        if not self.left:
            return "nothing to make"
        by_kind = {kind: sum(n.disk for n in self.left if n.item.kind == kind) for kind in _kinds(self.left)}
        parts = [f"{kind} {format_bytes(size)}" for kind, size in by_kind.items()]
        parts += [f"while it runs {format_bytes(self.passing)}"] if self.passing else []
        lines = [f"disk: {format_bytes(self.disk)} ({', '.join(parts)})"]
        where = (
            "; this machine has " + format_bytes(_machine())
            if self.device == "cpu"
            else " of each GPU"
            if self.apart > 1
            else " of the GPU"
        )
        lines += [f"memory: some {format_bytes(self.memory)}{where}"] if self.memory else []
        known = (
            f"some {duration(self.seconds)}"
            if self.seconds is not None
            else "not known yet: nothing like it was trained here"
        )
        if self.stepped and self.seconds is not None:
            known += ", an estimate from one step of each member on random images"
        if self.parallel > self.apart and self.seconds is not None:
            known += ", if members on one device took turns; what sharing it gains is not forecast"
        return "\n".join([*lines, f"time: {known}"])


def estimate_cost(context: BuildContext, plan: BuildPlan, items: Sequence[PlannedResult]) -> BuildCost:
    """Estimate the cost of each result. Networks are run on shapes only, so this takes at most two seconds."""
    if all(item.kept for item in items):
        return BuildCost(tuple(ResultCost(item, 0, 1.0, True, item.count) for item in items), 0, 0)
    classes, recipes = len(plan.training.pids), {m.name: context.config.recipe_of(m) for m in context.config.members}
    prints = {m.name: footprint(m, recipes[m.name], classes) for m in context.config.members}
    past = ResultHistory(context.store)
    rates = {
        m.name: training_rate(past, thawed(plan.members[m.name].request), prints[m.name].flops)
        for m in context.config.members
    }
    needs = tuple(_result_cost(context, plan, item, prints, rates, recipes) for item in items)
    training = [i.row for i in items if i.kind == "members" and not i.kept]
    checkpoints = [2 * prints[name].checkpoint() if _writes(recipes[name]) else 0 for name in training]
    passing = _largest(checkpoints, context.parallel)
    shards = [n.disk for n in needs if n.item.kind == "features" and not n.item.kept]
    passing += _largest(shards, context.parallel)
    passing += sum(_start_bytes(context, prints, name) for name in training)
    apart, together = _sharing(context)
    memory = 0
    if training:
        each = [prints[name].memory(_batch(recipes[name]), context.precision) for name in training]
        if context.device == "cpu":  # saving a checkpoint makes two copies in memory
            each = [a + b for a, b in zip(each, checkpoints, strict=True)]
        processes = min(together, len(training)) + (context.parallel > 1)
        memory = _largest(each, together) + processes * (PROCESS if context.device == "cpu" else CONTEXT)
    return BuildCost(needs, passing, memory, context.device, context.parallel, apart)


def with_timed_steps(context: BuildContext, plan: BuildPlan, needs: BuildCost) -> BuildCost:
    """The cost, with measured times for members that have no similar trained member in the store. Times one step each.

    A step uses the recipe's batch, or fewer images if the batch would take longer than STEP_SECONDS.
    """
    untimed = {n.item.row for n in needs.left if not n.measured}
    classes = len(plan.training.pids)
    share: dict[str, float] = {}
    for member in context.config.members:
        if member.name not in untimed:
            continue
        context.progress.say(f"timing one step of {member.name}")
        guessed = guessed_seconds(context, member, classes)
        took = timed_seconds(context, member, classes, guessed)
        if took is not None:
            share[member.name] = took / guessed
    stepped = tuple(
        replace(n, seconds=n.seconds * share[n.item.row], measured=True)
        if not n.measured and n.item.row in share
        else n
        for n in needs.needs
    )
    return replace(needs, needs=stepped, stepped=bool(share))


def guessed_seconds(context: BuildContext, member: Member, classes: int) -> float:
    """Seconds to train on one image, by GUESS."""
    return PASSES * footprint(member, context.config.recipe_of(member), classes).flops / GUESS[context.device]


def timed_seconds(
    context: BuildContext, member: Member, classes: int, guessed: float, seconds: float = 0.0
) -> float | None:
    """Measured seconds to train on one image; None if the memory is too small.

    By the guess, a step takes at most STEP_SECONDS.
    """
    from models.step_time import seconds_per_image  # imports torchvision: one second, not needed by other builds

    most = int(STEP_SECONDS / guessed)
    how = {"device": context.device, "precision": context.precision}
    return seconds_per_image(member, context.config.recipe_of(member), classes, **how, most=most, seconds=seconds)


def extraction_seconds(context: BuildContext, member: str, images: int, rate: float) -> float:
    """Seconds to extract a member's features. rate: images per second in training."""
    own = next(context.config.recipe_of(m).size for m in context.config.members if m.name == member)
    views = make_views(context.config.ensemble.views, context.config.ensemble.flip)
    pixels = sum(prod(view.size or own) for view in views) / prod(own)
    return images * pixels / (PASSES * rate)


def _writes(recipe: Recipe) -> bool:
    """Whether a training of this length writes checkpoints."""
    return recipe.checkpoint_minutes is not None or (recipe.checkpoint_every or 0) <= recipe.epochs


def _batch(recipe: Recipe) -> int:
    return recipe.identities_per_batch * recipe.images_per_identity


def _largest(values: Sequence[int], count: int) -> int:
    """The sum of the `count` largest values."""
    return sum(sorted(values, reverse=True)[:count])


def _sharing(context: BuildContext) -> tuple[int, int]:
    """The number of devices in use, and the maximum number of members per device."""
    apart = min(context.parallel, max(1, len(context.cards)))
    return apart, -(-context.parallel // apart)


def _result_cost(
    context: BuildContext,
    plan: BuildPlan,
    item: PlannedResult,
    prints: dict[str, Footprint],
    rates: dict[str, float | None],
    recipes: dict[str, Recipe],
) -> ResultCost:
    n = item.count
    guess = GUESS[context.device]
    if item.kind == "images":
        names = sum(len(json.dumps(name)) + 18 for name in plan.splits[item.address.key].names)
        sizes = [item.address.request["size"], *item.address.request.get("others", ())]
        size = sum(HEADER + n * height * width * 3 for height, width in sizes) + names
        return ResultCost(item, size + MANIFEST_BYTES, n * len(sizes) * READ_SECONDS, True, n)
    if item.kind == "members":
        one, rate = prints[item.row], rates[item.row]
        epochs, member = recipes[item.row].epochs, next(m for m in context.config.members if m.name == item.row)
        images = epochs * (n + _doubled(training_of(context, plan, member)))
        size = one.weights + EPOCH_BYTES * epochs + 120 * one.tensors
        if recipes[item.row].freeze == ALL:
            rate = own_rate(ResultHistory(context.store), item.address.request) or (rate and rate * HEAD_FASTER)
            guess *= HEAD_FASTER
        seconds = images / (rate or guess / PASSES / one.flops)
        return ResultCost(item, size + MANIFEST_BYTES, seconds, rate is not None, images)
    if item.kind == "frozen":
        one, rate = prints[item.row], rates[item.row]
        member = next(m for m in context.config.members if m.name == item.row)
        size = sum(HEADER + 4 * n * math.prod(shape) for shape in shapes(member, recipes[item.row]))
        seconds = n / (rate or guess / PASSES / one.flops) / PASSES
        return ResultCost(item, size + MANIFEST_BYTES, seconds, rate is not None, n)
    if item.kind in ("whitened", "expanded"):
        size = plan.outside[item.row].size if item.row in plan.outside else HEADER + 4 * n * prints[item.row].dim
        return ResultCost(item, size + MANIFEST_BYTES, 1.0, True, n)
    if item.kind == "features" and item.row in plan.outside:
        return ResultCost(item, plan.outside[item.row].size, n * READ_SECONDS, True, 0)
    if item.kind == "features":
        one, rate = prints[item.row], rates[item.row]
        lists = plan.tests | {TRAIN: (plan.training.split,)}
        names = _names(lists[item.address.name.rpartition("-")[2]])
        size = HEADER + 4 * n * one.dim + names
        seconds = extraction_seconds(context, item.row, n, rate or guess / PASSES / one.flops)
        return ResultCost(item, size + MANIFEST_BYTES, seconds, rate is not None, n)
    return _retrieval_cost(context, plan, item, prints)


def _retrieval_cost(
    context: BuildContext, plan: BuildPlan, item: PlannedResult, prints: dict[str, Footprint]
) -> ResultCost:
    """The cost of neighbours or of a ranking."""
    (query, gallery), n = plan.tests[item.row], item.count
    top_k = min(context.config.competition.top_k, len(gallery))
    if item.kind == "neighbours":
        mix = fusion_settings(context.config.ensemble, [m.name for m in context.config.members])
        k, grouped = min(neighbours_kept(mix), n), mix.grouped
        near = top_k if top_k <= NEAR_SHARE * len(gallery) else 0  # gallery lists that the search also saves
        size = 8 * n * k * (3 if grouped else 1) + 4 * n + 8 * len(query) * near + 10 * HEADER
        dims = [p.dim for p in prints.values()] + [OUTSIDE_DIM] * len(plan.outside)
        if context.config.ensemble.fusion in (
            EACH_FIRST,
            CALIBRATED,
        ):  # members are searched separately; the largest counts
            dims = [max(dims)]
        seconds = 0.0
        if not item.kept:
            device = "auto" if context.device == "cuda" else "cpu"
            given: dict[str, Any] = {"k": k, "top_k": near, "device": device, "grouped": grouped}
            seconds = estimate_search_cost(len(query), len(gallery), dims, **given).seconds
        return ResultCost(item, size + MANIFEST_BYTES, seconds + 0.5, True, n)
    if item.kind == "calibrations":
        return ResultCost(item, CALIBRATION_BYTES * len(prints) + MANIFEST_BYTES, 1.0 + 1e-4 * n, True, n)
    size = 8 * len(query) * top_k + 2 * HEADER + _names(plan.tests[item.row])
    return ResultCost(item, size + MANIFEST_BYTES, 0.5 + 1e-4 * n, True, n)


def _doubled(training: Training) -> int:
    """The number of images that are used twice per epoch."""
    return int(np.isin(training.labels, training.doubled).sum())


def estimate_build_cost(context: BuildContext, plan: BuildPlan) -> BuildCost:
    """The cost of the whole build."""
    return estimate_cost(context, plan, list_planned_results(context, plan))


def combined_cost(parts: Sequence[BuildCost]) -> BuildCost:
    """The cost of plans that run one after another. Results that several of them need are counted once."""
    every = {need.item.address.key: need for part in parts for need in part.needs}
    return BuildCost(
        tuple(every.values()),
        max(part.passing for part in parts),
        max(part.memory for part in parts),
        parts[-1].device,
        parts[-1].parallel,
        parts[-1].apart,
    )


def _names(lists: Sequence[Split]) -> int:
    """Bytes of the names of some lists in JSON."""
    return sum(len(json.dumps(name, ensure_ascii=False).encode()) + 2 for split in lists for name in split.names)


def _start_bytes(context: BuildContext, prints: dict[str, Footprint], name: str) -> int:
    """Bytes of a member's pretrained weights, if they are not cached."""
    member = next(m for m in context.config.members if m.name == name)
    if not (context.config.recipe_of(member).pretrained and member.weights):
        return 0
    return 0 if any(context.store.root.glob(f"weights/{name_of(member.weights)}-*")) else prints[name].weights


def _machine() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_room(store: Store, needs: BuildCost) -> None:
    """Check that the disk has room for the build.

    Raises:
        ResultError: it has not. The message gives the needed and the free bytes.
    """
    free = shutil.disk_usage(store.root).free
    if needs.disk > free:
        raise ResultError(
            f"{store.root}: this build needs {format_bytes(needs.disk)} on the disk and {format_bytes(free)} are free. "
            f"Make room, "
            f"give another folder with --runs, or see what can go: {command('ensemble.runs', *runs_option(store.root))}"
        )


def _kinds(needs: Sequence[ResultCost]) -> list[str]:
    return list(dict.fromkeys(n.item.kind for n in needs))
