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
    log = EventLog(job.store.root / LOGS / EVENTS)
    progress.listeners.append(log)
    progress.event("build", command=command, device=job.device, precision=job.precision)
    try:
        yield
        progress.event("built", seconds=round(time.monotonic() - begun, 3))
    except BaseException as e:
        progress.event("failed", error=f"{type(e).__name__}: {e}", seconds=round(time.monotonic() - begun, 3))
        raise
    finally:
        progress.listeners.remove(log)
