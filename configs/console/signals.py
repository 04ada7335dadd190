"""Ctrl-C and SIGTERM: work that can be saved goes on to the next point where it can be, and then the command stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop; the command's exit status is 128 and its number."""

    def __init__(self, number: int = signal.SIGINT, kept: str = "") -> None:
        """kept: what was saved before, in words."""
        super().__init__(kept)
        self.number, self.kept = int(number), kept


@contextmanager
def signal_handler(hear: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, `hear` is called for either signal. Signals reach the main thread alone; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int, frame: FrameType | None) -> None:
    """The handler that stops at once.

    Raises:
        Stopped: always.
    """
    raise Stopped(number)


@contextmanager
def deferred_stop() -> Iterator[Callable[[], int]]:
    """Inside, the first signal only makes `asked()` its number instead of 0; a second one stops at once.

    Whoever leaves without having answered a signal is stopped at the end.
    """
    came: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if came:
            raise Stopped(number)
        came.append(number)

    with signal_handler(hear):
        yield lambda: came[0] if came else 0
    if came:
        raise Stopped(came[0])
