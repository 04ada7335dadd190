"""Who listens to a build: the table on the screen, the log of JSON lines in `runs/logs`, TensorBoard where asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from configs.screen import Screen
from configs.events import EventLog
from configs.whole import Stage
from ensemble.items import MADE
from ensemble.job import Job
from ensemble.needs import Need, Needs
from ensemble.reasons import interrupted_after

LOGS, EVENTS = "logs", "build.jsonl"


@contextmanager
def watched(job: Job, needs: Needs, command: str) -> Iterator[None]:
    """Tell all of what a build does while it does it.

    Args:
        needs: what is to make, and what of it is kept.
        command: what was typed, for the log.
    """
    progress, begun = job.progress, time.monotonic()
    stages = [stage_of(job, need) for need in needs.needs]
    log = EventLog(job.store.root / LOGS / EVENTS)
    progress.listeners.append(log)
    kept = [s.key for s in stages if s.kept]
    progress.event("build", command=command, device=job.device, precision=job.precision, kept=kept)
    try:
        with Screen(progress.console, stages) as screen:
            progress.listeners.append(screen)
            progress.display = screen
            yield
        progress.event("built", seconds=round(time.monotonic() - begun, 3))
    except BaseException as e:
        progress.event("failed", error=f"{type(e).__name__}: {e}", seconds=round(time.monotonic() - begun, 3))
        raise
    finally:
        progress.display = None
        progress.listeners.clear()


def stage_of(job: Job, need: Need) -> Stage:
    """One item as the table shows it."""
    item = need.item
    epochs = job.plan.recipe.epochs
    total = {"members": epochs, "neighbours": 100}.get(item.kind, item.count)
    images = {"members": need.images / epochs, "neighbours": 0, "rankings": 0}.get(item.kind, 1)
    before = (interrupted_after(job.store, item) or 0) / epochs if item.kind == "members" else 0.0
    doing, made = MADE[item.kind]
    return Stage(
        item.address.key,
        item.row,
        item.kind,
        doing,
        made,
        float(total),
        float(images),
        need.seconds,
        need.measured,
        1.0 if item.kept else before,
    )
