"""The processes that train together: `torchrun` starts them, each has a device of its own. Alone it is a team of one.

Only the first process, which leads, opens the store; the others are told what to do. What is told is JSON, and arrays
go by path: processes on several machines see one file system.
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

PATIENCE = timedelta(days=30)  # a follower waits while the leader decodes, searches or ranks


@dataclass(frozen=True)
class ProcessGroup:
    """This process among `size`: number `rank`, of which 0 leads."""

    rank: int = 0
    size: int = 1
    channel: Any = None  # the process group that words are passed by

    @property
    def is_leader(self) -> bool:
        """Whether this process writes what is kept."""
        return self.rank == 0

    def shard(self, n: int) -> slice:
        """This process's share of n things in order; shares differ by one thing at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def send(self, words: Any) -> None:
        """To all followers, as JSON."""
        if self.size > 1:
            said = torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)
            dist.broadcast(torch.tensor([len(said)]), 0, group=self.channel)
            dist.broadcast(said, 0, group=self.channel)

    def receive(self) -> Any:
        """What the leader tells next."""
        length = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(length, 0, group=self.channel)
        said = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(said, 0, group=self.channel)
        return json.loads(said.numpy().tobytes())

    def broadcast(self, words: Any) -> Any:
        """What the leader says here, known to all."""
        if self.is_leader:
            self.send(words)
            return words
        return self.receive()

    def all_reduce_max(self, value: int) -> int:
        """The largest of the numbers that the processes say."""
        if self.size > 1:
            said = torch.tensor([value])
            dist.all_reduce(said, dist.ReduceOp.MAX, group=self.channel)
            value = int(said)
        return value

    def check_same(self, what: str, here: Any) -> None:
        """Whether all processes found the same.

        Raises:
            ResultError: they did not.
        """
        if self.all_reduce_max(int(self.broadcast(here) != here)):
            raise ResultError(
                f"{what}: {here!r} for process {self.rank} of {self.size}, and another one for others; "
                "do all see one --runs?"
            )

    def gather(self, rows: NDArray[np.float32] | None, n: int) -> NDArray[np.float32]:
        """(n, D) from each process's part of them; None is the part of one that has nothing to do."""
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
    """The team that torchrun started this process in; a team of one where it did not.

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
    """The store of names under which no earlier attempt has left any.

    torchrun keeps one store over its restarts, in which processes would find the addresses of those that died. On
    several machines it does not tell which attempt this is; `docs/hardware.md` says which setting makes a new store.
    """
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store
    return dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _own_gpu() -> int:
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise ConfigError(
            f"torchrun started {os.environ.get('LOCAL_WORLD_SIZE', local + 1)} processes on this machine, which has "
            f"{there} CUDA devices: --nproc-per-node {there}"
        )
    return local
