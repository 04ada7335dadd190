"""Progress and remaining time of a build: stages weighted by seconds, cached stages counted as done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

SETTLED_S = 3.0  # after so many seconds the measured speed of a stage is used
PARALLEL = ("frozen", "members", "features")  # kinds that several processes make at once, one row per process


@dataclass(frozen=True)
class ProgressStage:
    """One result of a build.

    Attributes:
        key: of its address.
        row: table row, such as a member's name.
        doing, made: verbs, such as `training` and `trained`.
        total: steps that its tasks count.
        images: per step.
        seconds: estimated time.
        measured: whether the estimate is based on measurements.
        done: share finished before this run, 1 for a cached result.
    """

    key: str
    row: str
    kind: str
    doing: str
    made: str
    total: float
    images: float
    seconds: float
    measured: bool
    done: float

    @property
    def kept(self) -> bool:
        """Whether the result is cached."""
        return self.done >= 1


def makespan(loads: Iterable[float], workers: int) -> float:
    """Seconds until all loads are done, if each free worker takes the next load."""
    busy = [0.0] * workers
    for load in loads:
        heapreplace(busy, busy[0] + load)
    return max(busy)


def wall_seconds(loads: Iterable[tuple[str, str, float]], parallel: int) -> float:
    """Seconds for loads (kind, row, seconds): `parallel` rows of the PARALLEL kinds at a time, the rest in sequence."""
    alone, rows = 0.0, dict[str, float]()
    for kind, row, seconds in loads:
        if kind in PARALLEL:
            rows[row] = rows.get(row, 0.0) + seconds
        else:
            alone += seconds
    return alone + makespan(rows.values(), parallel)


class BuildProgress:
    """Tracks the stages of a build. Stages of one process may be nested.

    `process` is the number of a worker process; 0 is this one.
    """

    def __init__(
        self, stages: Sequence[ProgressStage], clock: Callable[[], float] = time.monotonic, *, parallel: int = 1
    ) -> None:
        """parallel: rows made at a time."""
        self.stages = {s.key: s for s in stages}
        self.done = {s.key: s.done for s in stages}
        self.clock = clock
        self.last = clock()
        self.parallel = parallel
        self.open: dict[int, list[str]] = {}  # process -> keys of its running stages, the innermost last
        self.spent: dict[str, float] = {}  # kind -> seconds of this run, summed over processes
        self.gained: dict[str, float] = {}  # kind -> estimated seconds of the work that this run did

    def renew(self, stages: Sequence[ProgressStage]) -> None:
        """Replace the list of open stages. Finished and running stages stay."""
        under_way = {key for keys in self.open.values() for key in keys}
        self.stages = {key: s for key, s in self.stages.items() if self.done[key] >= 1 or key in under_way}
        for stage in stages:
            if stage.key not in self.stages:
                self.stages[stage.key], self.done[stage.key] = stage, stage.done

    def current(self, process: int = 0) -> ProgressStage | None:
        """The innermost running stage of a process."""
        return next((self.stages[k] for k in reversed(self.open.get(process, [])) if k in self.stages), None)

    def under_way(self) -> dict[int, ProgressStage]:
        """Process -> its current stage."""
        return {process: stage for process in self.open if (stage := self.current(process))}

    def begin(self, key: str, process: int = 0) -> None:
        """A stage starts."""
        self._count_time()
        self.open.setdefault(process, []).append(key)

    def end(self, key: str, process: int = 0, *, finished: bool) -> None:
        """A stage is finished, or failed."""
        self._count_time()
        keys = self.open.get(process, [])
        if key in keys:
            del keys[keys.index(key) :]
        if finished and key in self.stages:
            self._gain(self.stages[key], 1.0)

    def keep(self, key: str) -> None:
        """A result was cached."""
        if key in self.stages:
            self.done[key] = 1.0

    def resume(self, steps: float, process: int = 0) -> None:
        """An earlier run did `steps` steps of the current stage."""
        if stage := self.current(process):
            self.done[stage.key] = min(1.0, steps / stage.total)

    def step(self, steps: float, process: int = 0) -> None:
        """`steps` more steps of the current stage are done."""
        if stage := self.current(process):
            self._count_time()
            self._gain(stage, self.done[stage.key] + steps / stage.total)

    def share(self) -> float:
        """The finished share of the build, 0 to 1."""
        whole = sum(s.seconds for s in self.stages.values())
        return sum(s.seconds * self.done[s.key] for s in self.stages.values()) / whole if whole else 1.0

    def left(self) -> float | None:
        """Remaining seconds; None while unknown.

        A kind of stage that ran in this build uses the speed of this run. Other kinds use their measured speed, or the
        estimate scaled by the error so far.
        """
        overall = None
        if sum(self.spent.values()) >= SETTLED_S and sum(self.gained.values()) > 0:
            overall = sum(self.spent.values()) / sum(self.gained.values())
        loads = []
        for stage in self.stages.values():
            if self.done[stage.key] >= 1:
                continue
            pace = self._pace(stage.kind) or (1.0 if stage.measured else overall)
            if pace is None:
                return None
            loads.append((stage.kind, stage.row, pace * stage.seconds * (1 - self.done[stage.key])))
        return wall_seconds(loads, self.parallel)

    def _pace(self, kind: str) -> float | None:
        spent, gained = self.spent.get(kind, 0.0), self.gained.get(kind, 0.0)
        return spent / gained if spent >= SETTLED_S and gained > 0 else None

    def _gain(self, stage: ProgressStage, done: float) -> None:
        before, now = self.done[stage.key], min(1.0, done)
        self.done[stage.key] = max(before, now)
        self.gained[stage.kind] = self.gained.get(stage.kind, 0.0) + stage.seconds * max(0.0, now - before)

    def _count_time(self) -> None:
        now = self.clock()
        for stage in self.under_way().values():
            self.spent[stage.kind] = self.spent.get(stage.kind, 0.0) + now - self.last
        self.last = now
