"""How many members are made at a time: the value of `--parallel`, and the choice of auto on this machine."""

from __future__ import annotations

import os
from dataclasses import replace

from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan
from ensemble.planning.build_cost import estimate_build_cost
from models.cuda_devices import cards, free_bytes

# Processes share a GPU by turns. Several gain only the time that one leaves it idle: waiting for the host, checkpoints,
# start and end of a member. Two processes fill most of it. Not measured on a GPU yet.
ON_ONE_CARD = 2


def choose_parallelism(asked: int | str, context: BuildContext, plan: BuildPlan) -> tuple[BuildContext, str]:
    """The context with the number of members at a time and their GPUs, and a message."""
    context = replace(context, cards=cards(context.device))
    parallel, why = (asked, "") if isinstance(asked, int) else _auto(context, plan)
    context = replace(context, parallel=parallel)
    said = [f"--parallel auto: {parallel}, {why}"] if why else []
    if parallel > 1:
        place = (
            f"on {len(context.cards)} GPUs"
            if len(context.cards) > 1
            else "on one GPU"
            if context.cards
            else "on the CPU"
        )
        said += [f"members: {parallel} at a time {place}, each in its own process"]
    cores, threads = len(os.sched_getaffinity(0)), int(context.store.made_with.get("threads", "1"))
    if parallel * threads > cores and parallel > 1 and not context.cards:
        said += [
            f"note: {parallel} processes of {threads} threads on {cores} cores slow each other down; with "
            f"OMP_NUM_THREADS={max(1, cores // parallel)} they would not, and sums of another number of threads round "
            "otherwise"
        ]
    return context, "\n".join(said)


def _auto(context: BuildContext, plan: BuildPlan) -> tuple[int, str]:
    """One member per GPU; on a single GPU as many as fit its memory, at most ON_ONE_CARD; on a CPU one."""
    if not context.cards:
        return 1, "since one training uses all cores of a CPU"
    if len(context.cards) > 1:
        return len(context.cards), "one member per GPU"
    each, free = estimate_build_cost(context, plan).memory, free_bytes()
    fit = max(1, min(ON_ONE_CARD, free // max(1, each)))
    return fit, f"since {free / 1e9:.0f} GB are free on the GPU and a member takes about {each / 1e9:.0f} GB"
