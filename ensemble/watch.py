"""Who listens to a build: the log of JSON lines in `runs/logs`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from configs.events import EventLog
from ensemble.job import Job

LOGS, EVENTS = "logs", "build.jsonl"


@contextmanager
def watched(job: Job, command: str) -> Iterator[None]:
    """Tell all of what a build does while it does it.

    Args:
        command: what was typed, for the log.
    """
    progress, begun = job.progress, time.monotonic()
    progress.listeners.append(EventLog(job.store.root / LOGS / EVENTS))
    progress.event("build", command=command, device=job.device, precision=job.precision)
    try:
        yield
    except BaseException as e:
        progress.event("failed", error=f"{type(e).__name__}: {e}", seconds=round(time.monotonic() - begun, 3))
        raise
    progress.event("built", seconds=round(time.monotonic() - begun, 3))
