"""The whole build at a glance: one bar with the time left, and under it a line for each member.

On a terminal both stay at the foot of the screen while what is said scrolls above them; where there is none, a plain
line is written now and then. No thread redraws it: it is drawn when something happened, five times a second at most.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from configs.console.build_progress import Stage, Whole
from configs.console.epoch_cells import epoch_cells, epoch_text
from configs.console.progress import LINE_EVERY_S, LINE_EVERY_SHARE, Step, duration

REDRAW_S = 0.2
WINDOW_S = 10.0  # images a second are those of the last so many seconds


class Screen:
    """A display of `Progress`, and a listener of it."""

    def __init__(
        self,
        console: Console,
        stages: Sequence[Stage],
        clock: Callable[[], float] = time.monotonic,
        *,
        parallel: int = 1,
    ) -> None:
        """parallel: members that are made at a time, each in a process of its own."""
        self.console, self.clock = console, clock
        self.whole = Whole(stages, clock, parallel=parallel)
        self.rows: dict[str, dict[str, str]] = {s.row: {} for s in stages}
        self.cells: dict[str, dict[str, str]] = {}  # row -> its last epoch, see `epoch_cells`
        self.made: set[str] = set()  # keys of what this run made
        self.recent: dict[int, deque[tuple[float, float]]] = {}  # process -> (time, images)
        self.begun = self.shown = clock()
        self.live: Live | None = None

    def __enter__(self) -> Screen:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(
                self, console=self.console, auto_refresh=False, redirect_stdout=sys.stdout.isatty(), transient=False
            )
            self.live.start(refresh=True)
        return self

    def __exit__(self, *reason: object) -> None:
        if self.live:
            self.live.refresh()
            self.live.stop()

    def __rich__(self) -> Group:
        return Group(self.bar(), self.table())

    def renew(self, stages: Sequence[Stage]) -> None:
        """What is left is another list now."""
        self.whole.renew(stages)
        for stage in stages:
            self.rows.setdefault(stage.row, {})
        self.show(now=True)

    # ------------------------------------------------------------------------------------------------ what happens

    def task(self, name: str, total: float, done: float, process: int = 0) -> Step:
        """A task of the current stage of a process begins."""
        if done:
            self.whole.resume(done, process)
        return lambda steps: self.step(steps, process)

    def step(self, steps: float, process: int = 0) -> None:
        """So much more of it is done."""
        if stage := self.whole.current(process):
            self.recent.setdefault(process, deque()).append((self.clock(), steps * stage.images))
        self.whole.step(steps, process)
        self.show()

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Follow what is told of results and epochs; `pid` is there where a worker process tells it."""
        key, process = str(fields.get("key")), int(fields.get("pid", 0))
        if event == "begun":
            self.whole.begin(key, process)
        elif event in ("done", "stopped"):
            self.whole.end(key, process, finished=event == "done")
            self.made |= {key} if event == "done" else set()
        elif event == "kept":
            self.whole.keep(key)
        elif event == "training":
            self._row(fields)["epoch"] = f"{fields['done']}/{fields['epochs']}"
        elif event == "epoch":
            self._row(fields).update(
                epoch=f"{fields['epoch']}/{fields['epochs']}",
                rate=f"{fields['images'] / max(fields['seconds'], 1e-9):,.0f}",
            )
            self.cells[str(fields["member"])] = epoch_cells(fields)
        else:
            return
        if event != "epoch":
            self.recent.pop(process, None)
        self.show(now=event != "kept")

    def _row(self, fields: Mapping[str, Any]) -> dict[str, str]:
        return self.rows.setdefault(str(fields["member"]), {})

    # ------------------------------------------------------------------------------------------------ what is shown

    def show(self, *, now: bool = False) -> None:
        """Draw it again, or write a line, if the last one is old enough."""
        time_ = self.clock()
        if self.live:
            if now or time_ - self.shown >= REDRAW_S:
                self.shown = time_
                self.live.refresh()
            return
        due = self.shown + max(LINE_EVERY_S, LINE_EVERY_SHARE * (time_ - self.begun))
        if time_ >= due and self.whole.under_way():
            self.shown = time_
            self.console.print(self.line(), markup=False)
            self.console.file.flush()

    def line(self) -> str:
        """`  r50: training 40 %, epoch 7/16, loss 0.9 (...), ..., 121 images/s; whole build 43 %, 1 h 05 min left`."""
        told = []
        for process, stage in self.whole.under_way().items():
            row = self.rows.get(stage.row, {})
            what = [f"{stage.row}: {self.stage_text(stage.row)}"]
            if stage.kind == "members":
                what += [f"epoch {row['epoch']}"] if "epoch" in row else []
                what += [epoch_text(self.cells[stage.row])] if stage.row in self.cells else []
            if rate := self.rate(process, stage):
                what += [f"{rate} images/s"]
            told.append(", ".join(what))
        return f"  {'; '.join(told)}; whole build {self.whole_text()}"

    def whole_text(self) -> str:
        """43 %, 1 h 05 min left."""
        share, left = self.whole.share(), self.whole.left()
        return _per_cent(share) + (f", {duration(left)} left" if left is not None and share < 1 else "")

    def bar(self) -> Table:
        """The one bar of the build."""
        grid = Table.grid(padding=(0, 1), expand=True)
        for ratio in (None, 1, None):
            grid.add_column(ratio=ratio, no_wrap=True)
        bar = ProgressBar(total=1.0, completed=self.whole.share())
        grid.add_row(Text("build", style="bold"), bar, Text(self.whole_text()))
        return grid

    def table(self) -> Table:
        """A line for each member, and one for each test."""
        losses = list(dict.fromkeys(name for cells in self.cells.values() for name in cells)) or ["loss"]
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("", no_wrap=True, overflow="ellipsis")
        table.add_column("stage", no_wrap=True, overflow="ellipsis")
        for name in ("epoch", *losses, "images/s"):
            table.add_column(name, justify="right", no_wrap=True, overflow="ellipsis")
        under_way = {stage.row: (process, stage) for process, stage in self.whole.under_way().items()}
        for name, row in self.rows.items():
            here = under_way.get(name)
            rate = self.rate(*here) if here else row.get("rate", "")
            own = [self.cells.get(name, {}).get(loss, "") for loss in losses]
            cells = name, self.stage_text(name), row.get("epoch", ""), *own, rate
            table.add_row(*(Text(c) for c in cells), style="bold" if here else "")
        return table

    def stage_text(self, row: str) -> str:
        """`training 43 %`, `trained`, `kept` or `waiting`: where a row is."""
        current = next((s for s in self.whole.under_way().values() if s.row == row), None)
        if current:
            return f"{current.doing} {_per_cent(self.whole.done[current.key])}"
        own = [s for s in self.whole.stages.values() if s.row == row]
        ready = [s for s in own if self.whole.done[s.key] >= 1]
        if not ready:
            return "waiting"
        if len(ready) == len(own):
            return "done" if any(s.key in self.made for s in own) else "kept"
        last = ready[-1]
        return last.made + ("" if last.key in self.made else ", kept")

    def rate(self, process: int, stage: Stage) -> str:
        """Images a second of late; nothing where too little has happened to tell."""
        recent = self.recent.get(process, deque())
        while recent and recent[-1][0] - recent[0][0] > WINDOW_S:
            recent.popleft()
        if len(recent) < 2 or not stage.images:
            return self.rows.get(stage.row, {}).get("rate", "") if stage.kind == "members" else ""
        took = recent[-1][0] - recent[0][0]
        return f"{(sum(n for _, n in recent) - recent[0][1]) / took:,.0f}" if took > 0 else ""


def _per_cent(share: float) -> str:
    return f"{min(99, int(100 * share)) if share < 1 else 100} %"
