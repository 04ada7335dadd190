"""What every stage of a build needs to know."""

from __future__ import annotations

from dataclasses import dataclass

from configs.console.progress import Progress
from configs.schema import BuildConfig
from configs.store.store import Store
from models.distributed.process_group import ALONE, ProcessGroup


@dataclass(frozen=True)
class BuildContext:
    """One build: its plan, where results are kept, who is told, and what it runs on.

    workers: loader processes of each training. parallel: members that are made at a time, each in a process of its own.
    cards: the CUDA devices for these, as `models/cuda_devices.py` names them.
    """

    plan: BuildConfig
    store: Store
    progress: Progress
    device: str
    precision: str
    workers: int
    team: ProcessGroup = ALONE
    parallel: int = 1
    cards: tuple[str, ...] = ()
