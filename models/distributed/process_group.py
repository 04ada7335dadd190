"""Processes that train one member together. `torchrun` starts them, each with its own device.

Without torchrun the group has one process.
Only process 0, the leader, opens the store. It sends requests to the other processes as JSON.
Arrays are passed by path: all machines must share a file system.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from configs.errors import ConfigError, ResultError

PATIENCE = timedelta(days=30)  # other processes wait while the leader decodes, searches or ranks


@dataclass(frozen=True)
class ProcessGroup:
    """A group of `size` processes, seen from process `rank`. Process 0 is the leader."""

    rank: int = 0
    size: int = 1
    channel: Any = None  # torch's process group for messages

    @property
    def is_leader(self) -> bool:
        """Whether this is process 0, which writes the results."""
        return self.rank == 0

    def shard(self, n: int) -> slice:
        """This process's shard of n items in order. Shards differ by at most one item."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def send(self, words: Any) -> None:
        """Send a message to all other processes, as JSON."""
        if self.size > 1:
            said = torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)
            dist.broadcast(torch.tensor([len(said)]), 0, group=self.channel)
            dist.broadcast(said, 0, group=self.channel)

    def receive(self) -> Any:
        """The leader's next message."""
        length = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(length, 0, group=self.channel)
        said = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(said, 0, group=self.channel)
        return json.loads(said.numpy().tobytes())

    def broadcast(self, words: Any) -> Any:
        """The leader's value, in every process."""
        if self.is_leader:
            self.send(words)
            return words
        return self.receive()

    def all_reduce_max(self, value: int) -> int:
        """The largest of all processes' values."""
        if self.size > 1:
            said = torch.tensor([value])
            dist.all_reduce(said, dist.ReduceOp.MAX, group=self.channel)
            value = int(said)
        return value

    def check_same(self, what: str, here: Any) -> None:
        """Check that all processes have the same value.

        Raises:
            ResultError: they do not.
        """
        if self.all_reduce_max(int(self.broadcast(here) != here)):
            raise ResultError(
                f"{what}: process {self.rank} of {self.size} has {here!r}, another process has a different value; "
                "all processes must use the same --runs folder"
            )

    def gather(self, rows: NDArray[np.float32] | None, n: int) -> NDArray[np.float32]:
        """(n, D): the rows of all shards. None is an empty shard."""
        width = self.all_reduce_max(0 if rows is None else rows.shape[1])
        part = np.empty((0, width), np.float32) if rows is None else rows
        if self.size == 1:
            return part
        mine = torch.zeros(-(-n // self.size), width)
        mine[: len(part)] = torch.from_numpy(part)
        every = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(every, mine, group=self.channel)
        shares = (ProcessGroup(rank, self.size).shard(n) for rank in range(self.size))
        return np.concatenate([one[: s.stop - s.start].numpy() for one, s in zip(every, shares, strict=True)])


ALONE = ProcessGroup()


@contextmanager
def join_process_group(asked: str) -> Iterator[ProcessGroup]:
    """The group that torchrun started this process in, or a group of one process.

    Args:
        asked: auto, cpu or cuda, as for `choose_device`.

    Raises:
        ConfigError: more processes on this machine than it has GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield ProcessGroup()
        return
    cuda = asked != "cpu" and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(_own_gpu())
    store, rank, size = next(dist.rendezvous("env://"))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=_fresh(store), rank=rank, world_size=size)
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), dist.new_group(backend="gloo", timeout=PATIENCE))
    finally:
        dist.destroy_process_group()


def _fresh(store: dist.Store) -> dist.Store:
    """A store without entries of an earlier attempt.

    torchrun uses one store for all of its restarts, so processes would find the addresses of dead ones.
    On several machines the number of the attempt is unknown: `docs/hardware.md` names the setting for a new store.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _own_gpu() -> int:
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise ConfigError(
            f"torchrun started {os.environ.get('LOCAL_WORLD_SIZE', local + 1)} processes on a machine with "
            f"{there} CUDA devices; use --nproc-per-node {there}"
        )
    return local
