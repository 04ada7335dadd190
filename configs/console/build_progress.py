"""How far a whole build is, and how long it will take: stages weighed by seconds, kept ones counted as done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

SETTLED_S = 3.0  # after so long a stage's own pace is believed
PARALLEL = ("members", "features")  # kinds that several processes make at once, each for a row of its own


@dataclass(frozen=True)
class ProgressStage:
    """One result on the way.

    key: of its address. row: whom it is for. doing, made: `training`, `trained`. total: steps that its tasks count;
    images: that a step stands for. seconds: what it is thought to take; measured: whether that rests on something
    measured. done: the share that stood before this run, 1 for a kept one.
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
        """Whether there is nothing to make."""
        return self.done >= 1


def makespan(loads: Iterable[float], workers: int) -> float:
    """Seconds until all is done, when whoever of the workers is free takes the next load."""
    busy = [0.0] * workers
    for load in loads:
        heapreplace(busy, busy[0] + load)
    return max(busy)


def wall_seconds(loads: Iterable[tuple[str, str, float]], parallel: int) -> float:
    """How long (kind, row, seconds) take together: rows of the PARALLEL kinds so many at a time, the rest by itself."""
    alone, rows = 0.0, dict[str, float]()
    for kind, row, seconds in loads:
        if kind in PARALLEL:
            rows[row] = rows.get(row, 0.0) + seconds
        else:
            alone += seconds
    return alone + makespan(rows.values(), parallel)


class BuildProgress:
    """Follows the stages of a build as they begin, advance and end. Those of one process may lie in each other.

    process: which one a stage is under way in; 0 is this one.
    """

    def __init__(
        self, stages: Sequence[ProgressStage], clock: Callable[[], float] = time.monotonic, *, parallel: int = 1
    ) -> None:
        """parallel: rows that are made at a time."""
        self.stages = {s.key: s for s in stages}
        self.done = {s.key: s.done for s in stages}
        self.clock, self.last, self.parallel = clock, clock(), parallel
        self.open: dict[int, list[str]] = {}  # process -> keys of what is under way in it, the innermost last
        self.spent: dict[str, float] = {}  # kind -> seconds of this run, of each process
        self.gained: dict[str, float] = {}  # kind -> seconds that were thought to go into what this run made

    def renew(self, stages: Sequence[ProgressStage]) -> None:
        """What is left is another list now; what was made, or is under way, stays as it is."""
        under_way = {key for keys in self.open.values() for key in keys}
        self.stages = {key: s for key, s in self.stages.items() if self.done[key] >= 1 or key in under_way}
        for stage in stages:
            if stage.key not in self.stages:
                self.stages[stage.key], self.done[stage.key] = stage, stage.done

    def current(self, process: int = 0) -> ProgressStage | None:
        """The innermost stage under way in a process that is on the list."""
        return next((self.stages[k] for k in reversed(self.open.get(process, [])) if k in self.stages), None)

    def under_way(self) -> dict[int, ProgressStage]:
        """Process -> its current stage."""
        return {process: stage for process in self.open if (stage := self.current(process))}

    def begin(self, key: str, process: int = 0) -> None:
        """A result begins to be made."""
        self._count_time()
        self.open.setdefault(process, []).append(key)

    def end(self, key: str, process: int = 0, *, finished: bool) -> None:
        """It was made, or given up."""
        self._count_time()
        keys = self.open.get(process, [])
        if key in keys:
            del keys[keys.index(key) :]
        if finished and key in self.stages:
            self._gain(self.stages[key], 1.0)

    def keep(self, key: str) -> None:
        """It was there."""
        if key in self.stages:
            self.done[key] = 1.0

    def resume(self, steps: float, process: int = 0) -> None:
        """So many steps of the current stage were done by an earlier run."""
        if stage := self.current(process):
            self.done[stage.key] = min(1.0, steps / stage.total)

    def step(self, steps: float, process: int = 0) -> None:
        """So many more steps of the current stage are done."""
        if stage := self.current(process):
            self._count_time()
            self._gain(stage, self.done[stage.key] + steps / stage.total)

    def share(self) -> float:
        """Of the whole, 0 to 1."""
        whole = sum(s.seconds for s in self.stages.values())
        return sum(s.seconds * self.done[s.key] for s in self.stages.values()) / whole if whole else 1.0

    def left(self) -> float | None:
        """Seconds, or None where nothing tells yet.

        Each kind of stage goes on at the pace that this run had in it; another kind at its measured pace, or off by as
        much as what ran so far was.
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
