"""Sources of training batches: images on the device, images copied there ahead of use, or a loader."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.ahead import Fill, prefetch
from models.data.augment.chain import Chain, make_chain
from models.data.batches import Order, TrainingBatches, make_loader
from models.data.pk_sampler import Sampling

SHARE = 0.5  # of a GPU's free memory for images; the rest is for the network and its feature maps
HEADER = 3  # further numbers of a step: the time, the rate, the batch; behind them those of drop paths
DROP_PATHS = 7  # sets their random numbers apart from others of the seed
COPIED = 4096  # images at a time


@dataclass(frozen=True)
class Turn:
    """One batch.

    Attributes:
        batch: its number in the epoch.
        batches: batches of the epoch.
        rate: the learning rate.
        tensors: its data, see `Feed.unpack`.
    """

    batch: int
    batches: int
    rate: float
    tensors: list[Tensor]

    @property
    def last(self) -> bool:
        """Whether it is the last of its epoch."""
        return self.batch + 1 == self.batches


class Feed(Protocol):
    """The batches of a training in order, over all epochs."""

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """The batches from a batch of an epoch on. Tensors of one are valid until the next is requested."""

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[Tensor | tuple[Tensor, ...], Tensor, Tensor]:
        """The tensors of a turn -> images (or features), labels and header of a step, on the device. It can be
        captured.
        """


@dataclass(frozen=True)
class BatchSource:
    """The inputs of every feed.

    Attributes:
        images: (N, H, W, 3).
        rate: time in epochs -> learning rate.
        share: the indices of a batch that this process handles.
        paths: P drop paths of the network.
    """

    images: NDArray[np.uint8]
    sampling: Sampling
    augments: Sequence[Any]
    rate: Callable[[float], float]
    share: slice
    device: torch.device
    paths: int = 0

    def header(self, epoch: int, batch: int, batches: int) -> tuple[float, ...]:
        """The time at the end of a batch in epochs, the rate at that time, the batch, and the numbers of drop paths."""
        t = epoch + (batch + 1) / batches
        return t, self.rate(t), float(batch), *self._drawn(epoch, batch)

    @property
    def numbers(self) -> int:
        """How many a header has."""
        return HEADER + self.paths * len(range(self.sampling.batch)[self.share])

    def works(
        self, fill: Callable[..., None], epoch: int, batch: int, epochs: int
    ) -> Iterator[tuple[tuple[int, int, float], Fill]]:
        """For `prefetch`, the batches from this one to the last epoch's end: (batch, batches, rate), and what fills it.

        fill: called with the header, the epoch, the batch, the rows of the epoch's batches, and the arrays.
        """
        for at in range(epoch, epochs):
            every = self.sampling.rows(at)
            for number in range(batch if at == epoch else 0, len(every)):
                header = self.header(at, number, len(every))
                yield (number, len(every), header[1]), partial(fill, header, at, number, every)

    def _drawn(self, epoch: int, batch: int) -> list[float]:
        """In [0, 1), P for each image of the share, by (seed, epoch, batch) alone."""
        if not self.paths:
            return []
        rng = np.random.default_rng([self.sampling.seed, epoch, DROP_PATHS, batch])
        drawn: list[float] = rng.random((self.sampling.batch, self.paths))[self.share].ravel().tolist()
        return drawn


class LoaderFeed:
    """Augments single images on the host, in this process or in worker processes."""

    def __init__(self, source: BatchSource, workers: int) -> None:
        self.source = source
        self.workers = workers
        self.batches = TrainingBatches(source.images, source.sampling, source.augments, source.share)

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """See `Feed`."""
        order = Order()
        loader = make_loader(self.batches, order, workers=self.workers, pin=self.source.device.type == "cuda")
        for at in range(epoch, epochs):
            count, begin = len(self.batches.rows(at)), batch if at == epoch else 0
            order.epoch = at
            order.begin = begin
            order.end = count
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
    """Augments batches on the device. The host draws the random numbers ahead of use.

    Args:
        resident: whether all images are on the device. Otherwise the images of each batch are copied ahead of use.
    """

    def __init__(self, source: BatchSource, *, resident: bool) -> None:
        self.source = source
        self.chain: Chain = make_chain(source.augments, source.images.shape[1:3])
        self.pixels = self.chain.on(source.device)
        self.count = len(range(source.sampling.batch)[source.share])
        self.resident = laid_on(source.images, source.device) if resident else None

    @property
    def like(self) -> list[tuple[tuple[int, ...], torch.dtype]]:
        """Shapes and types of a turn: header; table of rows, labels and drawn numbers; noise; images to copy."""
        pictures = (self.count, *self.source.images.shape[1:])
        canvases = self.chain.canvases + (self.resident is None)
        tables = [((self.source.numbers,), torch.float64), ((self.count, 2 + self.chain.width), torch.float64)]
        return tables + canvases * [(pictures, torch.uint8)]

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """See `Feed`."""
        for (number, count, rate), tensors in prefetch(
            self.source.works(self._fill, epoch, batch, epochs), self.like, self.source.device
        ):
            yield Turn(number, count, rate, tensors)

    def _fill(
        self, header: Sequence[float], epoch: int, batch: int, every: NDArray[np.int64], arrays: Sequence[NDArray[Any]]
    ) -> None:
        (head, table, *canvases), rows = arrays, every[batch]
        own, places = rows[self.source.share], range(batch * len(rows), (batch + 1) * len(rows))[self.source.share]
        head[:] = header
        table[:, 0], table[:, 1] = own, self.source.sampling.labels[own]
        self.chain.draw(self.source.sampling.seed, epoch, places, every.ravel(), table[:, 2:], canvases)
        if self.resident is None:
            np.take(self.source.images, own, axis=0, out=canvases[-1], mode="clip")  # mode "raise" would copy twice

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """See `Feed`."""
        header, table, *canvases = tensors
        rows, labels = table[:, 0].long(), table[:, 1].long()
        images = canvases[-1] if self.resident is None else self.resident[rows]
        return self.pixels(images, table[:, 2:], canvases).permute(0, 3, 1, 2), labels, header


def make_feed(source: BatchSource, kind: str, workers: int, say: Callable[[str], None]) -> Feed:
    """The feed of a training.

    Args:
        kind: device or loader.
        workers: processes of a loader.
        say: gets messages for the user.

    Raises:
        ConfigError: an augmentation that does not work on batches.
    """
    if kind == "loader":
        return LoaderFeed(source, workers)
    if workers:
        say(f"  --workers {workers} is ignored: the images are augmented on the device")
    size = source.images.nbytes
    free = free_memory(source.device)
    resident = size <= SHARE * free
    if not resident:
        say(
            f"  the images take {size / 1e9:.2f} GB, more than {SHARE:.0%} of the {free / 1e9:.2f} GB that are free on "
            "the device: they stay in host memory and are copied batch by batch"
        )
    return DeviceFeed(source, resident=resident)


def free_memory(device: torch.device) -> float:
    """Free bytes of a GPU. Infinite for a CPU, since images are in its memory already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else np.inf


def laid_on(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """All images, copied to the device in blocks."""
    there = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(images), COPIED):
        there[start : start + COPIED].copy_(torch.from_numpy(np.array(images[start : start + COPIED])))
    return there
