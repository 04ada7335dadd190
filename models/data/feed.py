"""Where the batches of a training come from: the images on its device, copied there ahead of use, or a loader."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.ahead import Fill, ahead
from models.data.augment.chain import Chain, make_chain
from models.data.batches import Order, TrainingBatches, make_loader
from models.data.pk_sampler import Sampling

SHARE = 0.5  # of a GPU's free memory that images may take; the rest is for the network and a batch's maps
HEADER = 3  # numbers that a step is told besides: the time, the rate, the batch
COPIED = 4096  # images at a time


@dataclass(frozen=True)
class Turn:
    """One batch: its number in its epoch, of how many, the rate it is learned at, and the tensors it comes in."""

    batch: int
    batches: int
    rate: float
    tensors: list[Tensor]

    @property
    def last(self) -> bool:
        """Whether the epoch ends with it."""
        return self.batch + 1 == self.batches


class Feed(Protocol):
    """The batches of a training, in order, over all of its epochs."""

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """All that are left from a batch of an epoch on; the tensors of one are its own until the next is asked for."""

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The tensors of a turn to what a step takes; on the device, and so that it can be captured."""


@dataclass(frozen=True)
class Source:
    """What every feed gives.

    rate: time in epochs -> learning rate. share: the places of a batch that are this process's.
    """

    images: NDArray[np.uint8]
    sampling: Sampling
    augments: Sequence[Any]
    rate: Callable[[float], float]
    share: slice
    device: torch.device

    def header(self, epoch: int, batch: int, batches: int) -> tuple[float, float, float]:
        """The time at the end of a batch, in epochs, the rate then, and the batch."""
        t = epoch + (batch + 1) / batches
        return t, self.rate(t), float(batch)


class LoaderFeed:
    """Augmented one image after another on the host, by the training's own process or by others that live as long."""

    def __init__(self, source: Source, workers: int) -> None:
        self.source, self.workers = source, workers
        self.batches = TrainingBatches(source.images, source.sampling, source.augments, source.share)

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """See `Feed`."""
        order = Order()
        loader = make_loader(self.batches, order, workers=self.workers, pin=self.source.device.type == "cuda")
        for at in range(epoch, epochs):
            count, begin = len(self.batches.rows(at)), batch if at == epoch else 0
            order.epoch, order.begin, order.end = at, begin, count
            for number, (raw, labels) in enumerate(loader, begin):
                header = self.source.header(at, number, count)
                tensors = [raw, labels, torch.tensor(header, dtype=torch.float64)]
                there = [x.to(self.source.device, non_blocking=True) for x in tensors]
                yield Turn(number, count, header[1], there)

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Feed`."""
        raw, labels, header = tensors
        return raw, labels, header


class DeviceFeed:
    """A batch's pixels are made on the device; the host draws numbers, ahead of use.

    Args:
        resident: whether all images lie there; else each batch's are copied there, ahead of use.
    """

    def __init__(self, source: Source, *, resident: bool) -> None:
        self.source = source
        self.chain: Chain = make_chain(source.augments, source.images.shape[1:3])
        self.pixels = self.chain.on(source.device)
        self.count = len(range(source.sampling.batch)[source.share])
        self.resident = laid_on(source.images, source.device) if resident else None

    @property
    def like(self) -> list[tuple[tuple[int, ...], torch.dtype]]:
        """Of a turn's tensors: header; a table of rows, labels and drawn numbers; noise; images that lie elsewhere."""
        pictures = (self.count, *self.source.images.shape[1:])
        canvases = self.chain.canvases + (self.resident is None)
        tables = [((HEADER,), torch.float64), ((self.count, 2 + self.chain.width), torch.float64)]
        return tables + canvases * [(pictures, torch.uint8)]

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """See `Feed`."""
        for (number, count, rate), tensors in ahead(self._works(epoch, batch, epochs), self.like, self.source.device):
            yield Turn(number, count, rate, tensors)

    def _works(self, epoch: int, batch: int, epochs: int) -> Iterator[tuple[tuple[int, int, float], Fill]]:
        for at in range(epoch, epochs):
            every = self.source.sampling.rows(at)
            for number in range(batch if at == epoch else 0, len(every)):
                header = self.source.header(at, number, len(every))
                yield (number, len(every), header[1]), partial(self._fill, header, at, number, every)

    def _fill(
        self, header: Sequence[float], epoch: int, batch: int, every: NDArray[np.int64], arrays: Sequence[NDArray[Any]]
    ) -> None:
        (head, table, *canvases), rows = arrays, every[batch]
        own, places = rows[self.source.share], range(batch * len(rows), (batch + 1) * len(rows))[self.source.share]
        head[:] = header
        table[:, 0], table[:, 1] = own, self.source.sampling.labels[own]
        self.chain.draw(self.source.sampling.seed, epoch, places, every.ravel(), table[:, 2:], canvases)
        if self.resident is None:
            np.take(self.source.images, own, axis=0, out=canvases[-1], mode="clip")  # "raise" would copy it twice

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Feed`."""
        header, table, *canvases = tensors
        rows, labels = table[:, 0].long(), table[:, 1].long()
        images = canvases[-1] if self.resident is None else self.resident[rows]
        return self.pixels(images, table[:, 2:], canvases).permute(0, 3, 1, 2), labels, header


def make_feed(source: Source, kind: str, workers: int, say: Callable[[str], None]) -> Feed:
    """The feed for the device; what is not as one might think is said.

    Args:
        kind: device or loader. workers: processes of a loader.

    Raises:
        ConfigError: an augmentation that cannot be done for a batch.
    """
    if kind == "loader":
        return LoaderFeed(source, workers)
    if workers:
        say(f"  --workers {workers}: no loader processes here, for the images are augmented on the device")
    size, free = source.images.nbytes, free_memory(source.device)
    resident = size <= SHARE * free
    if not resident:
        say(
            f"  the images take {size / 1e9:.2f} GB, more than {SHARE:.0%} of the {free / 1e9:.2f} GB that are free on "
            "the device: they stay in the host's memory, and are copied batch by batch"
        )
    return DeviceFeed(source, resident=resident)


def free_memory(device: torch.device) -> float:
    """Bytes; of a CPU without bound, since images there are where they were."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else np.inf


def laid_on(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """All images on the device, copied there in parts."""
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), COPIED):
        there[start : start + COPIED].copy_(torch.from_numpy(np.array(images[start : start + COPIED])))
    return there
