"""What rounds will cost: those whose labels are not made yet are reckoned as if every image that is labelled joined."""

from __future__ import annotations

import numpy as np

from ensemble.pipeline.context import Job
from ensemble.pipeline.stages import Work
from ensemble.planning.build_cost import Needs, foreseen, needs_of
from ensemble.planning.planned_results import items_of
from ensemble.pseudo.unlabelled_pool import Pool, joined_work

FOR_LABELS = ("images", "members", "features")  # what a round needs to label the pool: nothing is ranked


def needs_ahead(job: Job, first: Work, pool: Pool, work: Work, number: int) -> Needs:
    """What round `number`, whose work this is, and all that follow need; the labels between them are not made yet."""
    ahead = []
    for following in range(number + 1, job.plan.ensemble.rounds + 1):
        within = pool.within(work)
        items = [i for i in items_of(job, within) if i.kind in FOR_LABELS and i.count]
        ahead.append(needs_of(job, within, items))
        work = supposed(job, first, pool, following)
    return together([*ahead, foreseen(job, work)])


def supposed(job: Job, first: Work, pool: Pool, number: int) -> Work:
    """A round's work if all images joined, in groups of the size of a known identity."""
    n, least = len(pool.split), job.plan.recipe.min_images
    if n < least:
        return first
    size = max(least, round(len(first.training.split) / len(first.training.pids)))
    labels = np.minimum(np.arange(n) // size, max(0, n // size - 1))  # the last group takes what is over
    return joined_work(job, first, pool, number, np.roll(labels, number))  # each round groups them in another way


def together(parts: list[Needs]) -> Needs:
    """The sum of works that are done one after another; what several of them need is counted once."""
    every = {need.item.address.key: need for part in parts for need in part.needs}
    return Needs(
        tuple(every.values()),
        max(part.passing for part in parts),
        max(part.memory for part in parts),
        parts[-1].device,
        parts[-1].parallel,
        parts[-1].apart,
    )
