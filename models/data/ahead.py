"""Work for a device, made ready by a thread and copied there ahead of its use."""

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
DEPTH = 4  # pieces of work that are made, copied or in use at once


def prefetch(
    works: Iterator[tuple[What, Fill]], like: Like, device: torch.device, depth: int = DEPTH
) -> Generator[tuple[What, list[Tensor]], None, None]:
    """Pieces of work in order, each filled into arrays by a thread and copied to the device while others are used.

    On a GPU the arrays are page-locked and the copies run on a stream of their own, so neither host nor device waits
    while the thread keeps up.

    Args:
        works: of each piece what it is, and what fills its arrays; the thread asks for them.
        like: shape and type of each array, the same for all pieces.

    Yields:
        what it is, and its tensors on the device, which are its own until the next is asked for.

    Raises:
        whatever `works` or a filling raised, where its piece would have come.
    """
    free: SimpleQueue[Slot] = SimpleQueue()
    ready: SimpleQueue[tuple[What, Slot] | BaseException | None] = SimpleQueue()
    over, stream = threading.Event(), torch.cuda.Stream(device) if device.type == "cuda" else None
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
        except BaseException as e:  # raised again where the piece is waited for
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
        free.put(slots[0])  # wakes the thread where it waits for one
        thread.join()
        if stream is not None:  # a copy on its way must not meet the memory's next owner
            torch.cuda.current_stream().wait_stream(stream)


class Slot:
    """Arrays on the host, and the tensors on the device that they are copied to; on a CPU the same memory."""

    def __init__(self, like: Like, device: torch.device, stream: torch.cuda.Stream | None) -> None:
        self.stream = stream
        self.host = [torch.empty(shape, dtype=dtype, pin_memory=stream is not None) for shape, dtype in like]
        self.arrays = [x.numpy() for x in self.host]
        self.there = [torch.empty_like(x, device=device) for x in self.host] if stream else self.host
        self.copied = torch.cuda.Event() if stream else None
        self.taken = torch.cuda.Event() if stream else None

    def fill(self, fill: Fill) -> None:
        """By the thread: fill the arrays once the last copy has left them, and start the next."""
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
        """For work on the current stream, which waits for the copy; the host does not."""
        if self.copied is not None:
            torch.cuda.current_stream().wait_event(self.copied)
        return self.there

    def give_back(self) -> None:
        """What the current stream has been given until here is the last that reads the tensors."""
        if self.taken is not None:
            self.taken.record(torch.cuda.current_stream())
