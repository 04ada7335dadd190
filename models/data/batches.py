"""Batches of decoded images: packed once, then read from a memory map by any number of workers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from multiprocessing import get_all_start_methods
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from configs.console.progress import Progress
from configs.console.signals import SIGNALS
from configs.errors import ConfigError
from configs.store.atomic_files import room_for
from models.data.augment import MEAN, STD, Augment, Image, Seat, image_rng
from models.data.images import PLAIN, decode_all
from models.data.pk_sampler import Sampling
from models.data.split import Split

PACKED = "images.npy"
Scale = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and deviation of levels 0 to 1
IMAGENET: Scale = (MEAN, STD)
COPIED = 1024  # images at a time


def packed_name(size: tuple[int, int]) -> str:
    """The file name of images that are packed at a further size."""
    return f"images-{size[0]}x{size[1]}.npy"


def pack(
    split: Split,
    size: tuple[int, int],
    folder: Path,
    progress: Progress,
    resampled: str = PLAIN,
    name: str = PACKED,
) -> None:
    """Decode and resize every image once, into `images.npy` or another file: (N, H, W, 3) uint8.

    It writes to a file, not to a memory map: on a full disk, a memory map would kill the process.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(split), *size, 3)}
    needed = len(split) * size[0] * size[1] * 3
    with (
        room_for(folder / name, needed),
        open(folder / name, "wb") as f,
        progress.task("images", len(split)) as step,
    ):
        np.lib.format.write_array_header_1_0(f, header)
        odd: list[str] = []
        for image in decode_all(split.paths, size, odd=odd.append, resampled=resampled):
            f.write(image.tobytes())
            step(1)
    if odd:
        said = "damaged file was" if len(odd) == 1 else "damaged files were"
        progress.say(f"note: {len(odd):,} {said} read all the same: {'; '.join(odd[:3])}")


def pack_joined(parts: Sequence[tuple[NDArray[np.uint8], NDArray[np.intp]]], folder: Path) -> None:
    """Write `images.npy` from packed images: the given rows of each array (N, H, W, 3), concatenated."""
    count = sum(len(rows) for _, rows in parts)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *parts[0][0].shape[1:])}
    with open(folder / PACKED, "wb") as f:
        np.lib.format.write_array_header_1_0(f, header)
        for images, rows in parts:
            for start in range(0, len(rows), COPIED):
                f.write(np.ascontiguousarray(images[rows[start : start + COPIED]]).tobytes())


class TrainingBatches(Dataset[tuple[Tensor, Tensor]]):
    """Training batches: item (epoch, b) is (P * K, 3, H, W) uint8 and the labels (P * K,), or a share of both."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        sampling: Sampling,
        augment: Sequence[Callable[[Image, np.random.Generator], Image]],
        share: slice = slice(None),
    ) -> None:
        self.images, self.sampling, self.augment, self.share = images, sampling, augment, share
        self.rows = lru_cache(1)(sampling.rows)

    def __getitem__(self, at: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, batch = at
        every = self.rows(epoch)
        rows = every[batch]
        places = range(batch * len(rows), (batch + 1) * len(rows))[self.share]
        seats = [Seat(epoch, place, every.ravel()) for place in places]
        seen = np.stack([self._augmented(row, seat) for row, seat in zip(rows[self.share], seats, strict=True)])
        return torch.from_numpy(seen).permute(0, 3, 1, 2), torch.from_numpy(self.sampling.labels[rows[self.share]])

    def _augmented(self, row: int, seat: Seat) -> Image:
        image, rng = np.asarray(self.images[row]), image_rng(self.sampling.seed, seat.epoch, seat.place)
        for change in self.augment:
            image = change(image, rng, seat) if isinstance(change, Augment) else change(image, rng)
        return image


class Order(Sampler[tuple[int, int]]):
    """The remaining batches of one epoch. The epoch can be set between two passes."""

    def __init__(self, epoch: int = 0, begin: int = 0, end: int = 0) -> None:
        self.epoch, self.begin, self.end = epoch, begin, end

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(self.epoch, batch) for batch in range(self.begin, self.end)])

    def __len__(self) -> int:
        return self.end - self.begin


def make_loader(
    batches: TrainingBatches, order: Order, *, workers: int = 0, pin: bool = False
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of the batches. The order may change between passes. Batches do not depend on the number of workers.

    Workers are forked: they share the memory map of the images, and augmentations are not pickled. They live as long
    as the loader.

    Raises:
        ConfigError: workers on a system that cannot fork processes.
    """
    if workers and "fork" not in get_all_start_methods():
        raise ConfigError(f"--workers {workers}: this system cannot fork processes; leave it at 0")
    return DataLoader(
        batches,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="fork" if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_main_process,
    )


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ignore Ctrl-C in workers. It reaches every process of the group, and the main process needs them to save."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def normalise(images: Tensor, device: torch.device, *, channels_last: bool, scale: Scale = IMAGENET) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 on the device: levels from 0 to 1, normalised by the mean and deviation `scale`."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = images.to(device, non_blocking=True).to(torch.float32, memory_format=layout)
    mean, std = _scale(device, scale)
    return (images - mean) / std


@cache
def _scale(device: torch.device, scale: Scale) -> tuple[Tensor, Tensor]:
    """Mean and deviation in levels, (1, 3, 1, 1) each. Cached: copying a constant in every step would wait."""
    with torch.inference_mode(False):
        mean, std = (torch.tensor(x, device=device).view(1, 3, 1, 1) * 255 for x in scale)
    return mean, std
