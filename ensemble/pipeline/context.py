"""The context that every stage of a build receives."""

from __future__ import annotations

from dataclasses import dataclass

from configs.console.progress import Progress
from configs.schema import BuildConfig
from configs.store.store import Store
from models.distributed.process_group import ALONE, ProcessGroup


@dataclass(frozen=True)
class BuildContext:
    """One build.

    Attributes:
        config: its configuration.
        store: cache of results.
        progress: output.
        device: cpu or cuda.
        precision: of training.
        workers: loader processes per training.
        team: processes of data-parallel training.
        parallel: members made at a time, each in its own process.
        cards: CUDA devices for these, named as in `models/cuda_devices.py`.
    """

    config: BuildConfig
    store: Store
    progress: Progress
    device: str
    precision: str
    workers: int
    team: ProcessGroup = ALONE
    parallel: int = 1
    cards: tuple[str, ...] = ()
