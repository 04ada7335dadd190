"""The speed of training and of reading images on this machine, and the time of a build at that speed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from configs.console.build_progress import wall_seconds
from configs.recipe import ALL
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan
from ensemble.planning.build_cost import (
    HEAD_FASTER,
    PASSES,
    BuildCost,
    ResultCost,
    extraction_seconds,
    guessed_seconds,
    timed_seconds,
)
from ensemble.planning.past_speed import own_rate, thawed
from ensemble.results.manifests import ResultHistory
from models.data.images import decode_all

READ = 32  # training images decoded to measure the reading speed


@dataclass(frozen=True)
class Speed:
    """Images per second. members: in training, by member. reading: decoding."""

    members: Mapping[str, float]
    reading: float


def rates_of(context: BuildContext, plan: BuildPlan, seconds: float) -> dict[str, float] | None:
    """Images per second in training, from the store or from steps timed for `seconds`; None if memory is too small."""
    past, classes, rates = ResultHistory(context.store), len(plan.training.pids), dict[str, float]()
    for member in context.config.members:
        rate = own_rate(past, thawed(plan.members[member.name].request))
        if rate is None:
            context.progress.say(f"timing steps of {member.name}")
            took = timed_seconds(context, member, classes, guessed_seconds(context, member, classes), seconds)
            if took is None:
                return None
            rate = 1 / took
        rates[member.name] = rate
    return rates


def reading_rate(context: BuildContext, plan: BuildPlan) -> float:
    """Decoded images per second, measured on some training images."""
    split = plan.training.split
    some = [split.paths[i] for i in np.linspace(0, len(split) - 1, min(READ, len(split))).astype(int)]
    begun = time.perf_counter()
    for _ in decode_all(some, context.config.recipe.size):
        pass
    return len(some) / (time.perf_counter() - begun)


def at_speed(context: BuildContext, needs: BuildCost, speed: Speed) -> BuildCost:
    """The cost, with the times of reading, training and extraction at this speed."""

    def seconds(need: ResultCost) -> float | None:
        rate = speed.members.get(need.item.row)
        if need.item.kind == "images":
            return need.item.count / speed.reading
        if need.item.kind == "members" and rate:
            recipe = need.item.address.request["recipe"]
            return need.images / (rate * HEAD_FASTER if recipe.get("freeze") == ALL else rate)
        if need.item.kind == "frozen" and rate:
            return need.images / rate / PASSES
        return (
            extraction_seconds(context, need.item.row, need.item.count, rate)
            if need.item.kind == "features" and rate
            else None
        )

    known = ((need, seconds(need)) for need in needs.needs)
    every = (need if took is None else replace(need, seconds=took, measured=True) for need, took in known)
    return replace(needs, needs=tuple(every))


def scaled(cost: BuildCost, times: float, rows: Collection[str]) -> BuildCost:
    """The cost, with the training times of these members multiplied by `times`."""

    def longer(need: ResultCost) -> ResultCost:
        changes = need.item.kind == "members" and need.item.row in rows
        return replace(need, seconds=need.seconds * times) if changes else need

    return replace(cost, needs=tuple(map(longer, cost.needs)))


def seconds_left(cost: BuildCost) -> float:
    """Time to make the missing results. Members on one device are assumed to take turns."""
    return wall_seconds([(n.item.kind, n.item.row, n.seconds) for n in cost.left], cost.apart)
