"""Rows of a table that must be had: each by itself, within the time that there is, its floor beside it."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch

Launch = Callable[[], object]
OVERTIME = 20.0  # seconds that a row begun in time may take beyond it


class Table:
    """Prints one row after another until the time is over; a row that fails says how."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def head(self, *columns: str) -> None:
        """A new table."""
        print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)

    def row(self, what: str, measure: Callable[[], list[str]]) -> None:
        """One line: what is measured, and what `measure` gives; memory is given back after it."""
        if time.monotonic() > self.end:
            print(f"| {what} | not measured: no time left |", flush=True)
            return
        begun = time.monotonic()
        try:
            with alarm(self.end - begun + OVERTIME):
                cells = measure()
        except Exception as e:  # whatever a card, a driver or a compiler says stops no other row
            reason = " ".join(str(e).split())[:160] or type(e).__name__
            cells = [f"failed: {reason}"]
        print(f"| {what} | {' | '.join(cells)} | {time.monotonic() - begun:.0f} s |", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what runs longer: a compiler may."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no time left after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rate(launch: Launch, amount: float, seconds: float = 1.0, warm: int = 6, device: str = "cuda") -> float:
    """`amount` a second, of launches one after another for so long, waited for at the end of every tenth."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(warm):
        launch()
    wait()
    begun, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < seconds:
        for _ in range(10):
            launch()
        wait()
        done += 10
    return amount * done / passed if done else 0.0


def product_rate(device: str = "cuda", n: int = 8192) -> float:
    """Floating-point operations a second of a large bfloat16 product: what a step could reach."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return rate(lambda: a @ b, 2 * n**3, device=device)


def copy_rate(device: str = "cuda", size: int = 2**30) -> float:
    """Bytes a second of a copy on the device, read and written counted."""
    a = torch.empty(size, dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return rate(lambda: b.copy_(a), 2 * size, device=device)


def upload_rate(size: int = 2**28) -> float:
    """Bytes a second from page-locked memory to the device."""
    host, there = (
        torch.empty(size, dtype=torch.uint8, pin_memory=True),
        torch.empty(size, dtype=torch.uint8, device="cuda"),
    )
    return rate(lambda: there.copy_(host, non_blocking=True), size)


@contextmanager
def cudnn(deterministic: bool, benchmark: bool) -> Iterator[None]:
    """cuDNN's choices set otherwise than training sets them."""
    flags = torch.backends.cudnn
    before = flags.deterministic, flags.benchmark
    flags.deterministic, flags.benchmark = deterministic, benchmark
    try:
        yield
    finally:
        flags.deterministic, flags.benchmark = before
