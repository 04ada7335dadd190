"""Ctrl-C and SIGTERM: work continues to the next point where it can be saved, then the command stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal stopped the command. The exit status is 128 plus the signal's number."""

    def __init__(self, number: int = signal.SIGINT, kept: str = "") -> None:
        """kept: text that says what was saved."""
        super().__init__(kept)
        self.number, self.kept = int(number), kept


@contextmanager
def signal_handler(hear: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Inside, `hear` is called for either signal. In other threads than the main thread nothing changes."""
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
    """Signal handler that stops at once.

    Raises:
        Stopped: always.
    """
    raise Stopped(number)


@contextmanager
def deferred_stop() -> Iterator[Callable[[], int]]:
    """Inside, the first signal only sets the result of `asked()` from 0 to its number. A second signal stops at once.

    If the block ends without a check of the signal, the command stops there.
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
