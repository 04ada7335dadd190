"""Prefetching: a thread prepares data and copies it to the device ahead of use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

What = TypeVar("What")
Fill = Callable[[Sequence[NDArray[Any]]], None]
Like = Sequence[tuple[tuple[int, ...], torch.dtype]]
DEPTH = 4  # items that are prepared, copied or in use at once


def prefetch(
    works: Iterator[tuple[What, Fill]], like: Like, device: torch.device, depth: int = DEPTH
) -> Generator[tuple[What, list[Tensor]], None, None]:
    """Items in order. A thread fills the arrays of each and copies them to the device while others are used.

    On a GPU the arrays are page-locked and the copies run on a separate stream.
    Neither host nor device waits as long as the thread keeps up.

    Args:
        works: for each item a description, and a function that fills its arrays. The thread iterates over them.
        like: shape and type of each array, the same for all items.

    Yields:
        the description, and the tensors on the device. They are valid until the next item is requested.

    Raises:
        any error of `works` or of a fill function, at the position of its item.
    """
    free: SimpleQueue[Slot] = SimpleQueue()
    ready: SimpleQueue[tuple[What, Slot] | BaseException | None] = SimpleQueue()
    over = threading.Event()
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    slots = [Slot(like, device, stream) for _ in range(depth)]
    for slot in slots:
        free.put(slot)

    def work() -> None:
        try:
            for what, fill in works:
                slot = free.get()
                if over.is_set():
                    return
                slot.fill(fill)
                ready.put((what, slot))
            ready.put(None)
        except BaseException as e:  # raised again by the consumer
            ready.put(e)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (piece := ready.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            what, slot = piece
            yield what, slot.take()
            slot.give_back()
            free.put(slot)
    finally:
        over.set()
        free.put(slots[0])  # wakes the thread if it waits for a slot
        thread.join()
        if stream is not None:  # a running copy must not write to memory that is reused
            torch.cuda.current_stream().wait_stream(stream)


class Slot:
    """Arrays on the host and their tensors on the device. On a CPU they share memory."""

    def __init__(self, like: Like, device: torch.device, stream: torch.cuda.Stream | None) -> None:
        self.stream = stream
        self.host = [torch.empty(shape, dtype=dtype, pin_memory=stream is not None) for shape, dtype in like]
        self.arrays = [x.numpy() for x in self.host]
        self.there = [torch.empty_like(x, device=device) for x in self.host] if stream else self.host
        self.copied = torch.cuda.Event() if stream else None
        self.taken = torch.cuda.Event() if stream else None

    def fill(self, fill: Fill) -> None:
        """Called by the thread: wait for the last copy, fill the arrays, start the next copy."""
        if self.copied is not None:
            self.copied.synchronize()
        fill(self.arrays)
        if self.stream is not None and self.taken is not None and self.copied is not None:
            with torch.cuda.stream(self.stream):
                self.stream.wait_event(self.taken)
                for there, host in zip(self.there, self.host, strict=True):
                    there.copy_(host, non_blocking=True)
                self.copied.record(self.stream)

    def take(self) -> list[Tensor]:
        """The tensors, for work on the current stream. The stream waits for the copy; the host does not."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)
        return self.there

    def give_back(self) -> None:
        """Allow the tensors to be overwritten after the work that is now on the current stream."""
        if self.taken is not None:
            self.taken.record(torch.cuda.current_stream())
