"""Progress output: bars with the remaining time on a terminal, plain lines elsewhere.

Code calls `say`, `warn`, `task` and `event`. Listeners, such as the event log and the build table, receive the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from configs.store.store import Address

Step = Callable[[float], None]
Listener = Callable[[str, Mapping[str, Any]], None]
QUIET_S = 2.0  # shorter tasks print nothing
LINE_EVERY_S = 15.0
LINE_EVERY_SHARE = 0.02  # of the elapsed time: a log of one night has about a hundred lines


class Display(Protocol):
    """Shows tasks in its own way, instead of one bar per task."""

    def task(self, name: str, total: float, done: float, process: int = 0) -> Step:
        """Start a task, of which `done` steps are finished; the result receives further steps.

        process: number of its worker process, 0 for this one.
        """


class Progress:
    """Prints progress to standard error; standard output is for results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, force_jupyter=False)
        self.quiet = quiet
        self.listeners: list[Listener] = []
        self.display: Display | None = None

    def say(self, text: str) -> None:
        """Print one line."""
        self.event("said", text=text)
        self._print(text)

    def warn(self, text: str) -> None:
        """Print one warning line."""
        self.event("warning", text=text)
        self._print(f"warning: {text}")

    def event(self, event: str, /, **fields: Any) -> None:
        """Send an event to the listeners, such as an epoch's metrics, or a result begun or done."""
        for listener in self.listeners:
            listener(event, fields)

    def tell(self, what: str, address: Address) -> None:
        """Receive a result's state from `Store`: kept, begun, done or stopped."""
        self.event(what, kind=address.kind, name=address.name, key=address.key)

    def _print(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=not self.console.is_terminal)

    @contextmanager
    def task(self, name: str, total: float, done: float = 0.0) -> Iterator[Step]:
        """Count the steps of a long task, of which `done` are finished."""
        if self.display:
            yield self.display.task(name, total, done)
        elif self.quiet:
            yield lambda amount: None
        elif self.console.is_terminal:
            with self._bar(name, total, done) as step:
                yield step
        else:
            yield self._lines(name, total, done)

    @contextmanager
    def _bar(self, name: str, total: float, done: float) -> Iterator[Step]:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(name, total=total, completed=done)  # type: ignore[arg-type]
            yield lambda amount: bars.advance(task, amount)

    def _lines(self, name: str, total: float, before: float) -> Step:
        begun = last = time.monotonic()
        done = before

        def step(amount: float) -> None:
            nonlocal done, last
            done += amount
            now = time.monotonic()
            wait = max(LINE_EVERY_S, LINE_EVERY_SHARE * (now - begun))
            if now - begun > QUIET_S and now - last > wait and before < done < total:
                last = now
                left = (now - begun) / (done - before) * (total - done)
                self._print(f"  {name}: {_count(done)} of {total:,g}, {duration(left)} left")
                sys.stderr.flush()

        return step


def _count(done: float) -> str:
    return f"{done:,.0f}" if done >= 100 else f"{done:.1f}".removesuffix(".0")


def duration(seconds: float) -> str:
    """7 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
