"""How many members are made at a time: what `--parallel` asks for, and what auto is on this machine."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from ensemble.pipeline.context import Job
from ensemble.pipeline.stages import Work
from ensemble.planning.build_cost import foreseen
from models.cuda_devices import cards, free_bytes

AUTO = "auto"
# Processes take turns on a card: what several gain is the time that one of them leaves it idle (batches that wait for
# the host, checkpoints, the first and last seconds of a member). Two fill most of that. Not measured on a card yet.
ON_ONE_CARD = 2


def members_at_a_time(text: str) -> int | str:
    """The value of `--parallel`: a number, or AUTO."""
    if text == AUTO:
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted how many members are trained at a time, 1 or more, or auto")
    return int(text)


def settle(asked: int | str, job: Job, work: Work) -> tuple[Job, str]:
    """The job with how many members it makes at a time and on which cards, and what to say of it."""
    job = replace(job, cards=cards(job.device))
    parallel, why = (asked, "") if isinstance(asked, int) else _auto(job, work)
    job = replace(job, parallel=parallel)
    said = [f"--parallel auto: {parallel}, {why}"] if why else []
    if parallel > 1:
        place = f"on {len(job.cards)} GPUs" if len(job.cards) > 1 else "on one GPU" if job.cards else "on the CPU"
        said += [f"members: {parallel} at a time {place}, each in a process of its own"]
    cores, threads = len(os.sched_getaffinity(0)), int(job.store.made_with.get("threads", "1"))
    if parallel * threads > cores and parallel > 1 and not job.cards:
        said += [
            f"note: {parallel} processes of {threads} threads on {cores} cores slow each other down; with "
            f"OMP_NUM_THREADS={max(1, cores // parallel)} they would not, and sums of another number of threads round "
            "otherwise"
        ]
    return job, "\n".join(said)


def _auto(job: Job, work: Work) -> tuple[int, str]:
    """As many as there are GPUs; on one GPU what its memory holds, ON_ONE_CARD at the most; on a CPU one."""
    if not job.cards:
        return 1, "for one training uses every core of a CPU"
    if len(job.cards) > 1:
        return len(job.cards), "a member on each GPU"
    each, free = foreseen(job, work).memory, free_bytes()
    fit = max(1, min(ON_ONE_CARD, free // max(1, each)))
    return fit, f"for {free / 1e9:.0f} GB are free on the GPU, and a member takes some {each / 1e9:.0f}"
