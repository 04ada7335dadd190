"""Batches of decoded images: packed once, then read from a memory map by any number of workers."""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator, Sequence
from multiprocessing import get_all_start_methods
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from configs.disk import room_for
from configs.errors import ConfigError
from configs.progress import Progress
from configs.stopping import SIGNALS
from models.data.augment import MEAN, STD, Augment, image_rng
from models.data.images import decode_all
from models.data.sampler import pk_batches
from models.data.split import Split

PACKED = "images.npy"
COPIED = 1024  # images at a time


def pack(split: Split, size: tuple[int, int], folder: Path, progress: Progress) -> None:
    """Decode and resize every image once, into `images.npy`: (N, H, W, 3) uint8.

    Written through a file and not a memory map: a full disk is an error there, and here the end of the process.
    """
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(split), *size, 3)}
    needed = len(split) * size[0] * size[1] * 3
    with (
        room_for(folder / PACKED, needed),
        open(folder / PACKED, "wb") as f,
        progress.task("images", len(split)) as step,
    ):
        np.lib.format.write_array_header_1_0(f, header)
        for image in decode_all(split.paths, size):
            f.write(image.tobytes())
            step(1)


def pack_joined(parts: Sequence[tuple[NDArray[np.uint8], NDArray[np.intp]]], folder: Path) -> None:
    """`images.npy` from images that are packed already: of each array (N, H, W, 3) these rows, one behind the other."""
    count = sum(len(rows) for _, rows in parts)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *parts[0][0].shape[1:])}
    with open(folder / PACKED, "wb") as f:
        np.lib.format.write_array_header_1_0(f, header)
        for images, rows in parts:
            for start in range(0, len(rows), COPIED):
                f.write(np.ascontiguousarray(images[rows[start : start + COPIED]]).tobytes())


class TrainingBatches(Dataset[tuple[Tensor, Tensor]]):
    """The batches of one epoch: item b is (P * K, 3, H, W) uint8 and its labels (P * K,), or a share of both."""

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        augment: Sequence[Augment],
        seed: int,
        epoch: int,
        share: slice = slice(None),
    ) -> None:
        self.images, self.labels, self.rows = images, labels, rows
        self.augment, self.seed, self.epoch, self.share = augment, seed, epoch, share

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, batch: int) -> tuple[Tensor, Tensor]:
        rows = self.rows[batch]
        places = range(batch * len(rows), (batch + 1) * len(rows))[self.share]
        seen = np.stack([self._augmented(*at) for at in zip(rows[self.share], places, strict=True)])
        return torch.from_numpy(seen).permute(0, 3, 1, 2), torch.from_numpy(self.labels[rows[self.share]])

    def _augmented(self, row: int, place: int) -> NDArray[np.uint8]:
        image, rng = np.asarray(self.images[row]), image_rng(self.seed, self.epoch, place)
        for change in self.augment:
            image = change(image, rng)
        return image


def epoch_loader(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    augment: Sequence[Augment],
    *,
    identities: int,
    per_identity: int,
    seed: int,
    epoch: int,
    doubled: Collection[int] = (),
    share: slice = slice(None),
    workers: int = 0,
    pin: bool = False,
    begin: int = 0,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Everything training sees in one epoch, from batch `begin` on; the same for any number of workers.

    Workers are forked, so that they share the images' memory map and need no pickle of the augmentations.

    Args:
        share: which places of every batch this process trains on; each sees there what one process would.

    Raises:
        ConfigError: workers are asked for where processes cannot be forked.
    """
    if workers and "fork" not in get_all_start_methods():
        raise ConfigError(f"--workers {workers}: this system cannot fork processes; leave it at 0")
    rows = pk_batches(labels, identities, per_identity, seed=seed, epoch=epoch, doubled=doubled)
    batches = TrainingBatches(images, labels, rows, augment, seed, epoch, share)
    context = "fork" if workers else None
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(begin, len(batches)),
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context=context,
        worker_init_fn=_leave_signals_to_the_main_process,
    )


def _leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches every process of a group: the main one saves what it has, with the workers' help."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def plain_batches(images: NDArray[np.uint8], size: int) -> Iterator[tuple[slice, Tensor]]:
    """The images in order, unchanged: (rows, (B, 3, H, W) uint8)."""
    for start in range(0, len(images), size):
        rows = slice(start, min(start + size, len(images)))
        yield rows, torch.from_numpy(np.array(images[rows])).permute(0, 3, 1, 2)


def normalise(images: Tensor, device: torch.device, *, channels_last: bool) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 on the device, ImageNet's mean 0 and deviation 1."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    images = images.to(device, non_blocking=True).to(torch.float32, memory_format=layout)
    mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(1, 3, 1, 1) * 255
    return (images - mean) / std
