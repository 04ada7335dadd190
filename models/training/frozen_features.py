"""What a frozen backbone gives for every training image, made once, so that a head trains on it in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.console.progress import Progress
from configs.schema import Member, Recipe
from configs.store.atomic_files import room_for
from models import registry
from models.data.ahead import prefetch
from models.data.batches import normalise
from models.device import autocast, computing
from models.net import Net, at_least_float32

BATCH = 128  # images


def copies(recipe: Recipe) -> int:
    """Of each image: as it is, and mirrored where the recipe has a flip."""
    return 1 + bool(recipe.augment)


def kept_for(member: Member) -> dict[str, Any]:
    """What of the backbone's features the member's head reads, for a cache key."""
    with torch.device("meta"):
        head = registry.make_net(member, classes=2).head
    pool = getattr(head, "fixed_pool", None)
    return {"fork": head.fork, "pool": pool and pool.kind}


def reduced(net: Net, images: Tensor) -> tuple[Tensor, ...]:
    """`Net.features` in float32; the map pooled to 1 x 1 where the head's own pooling has nothing to learn."""
    last, *more = (at_least_float32(x) for x in net.features(images))
    pool = getattr(net.head, "fixed_pool", None)
    return (last if pool is None else pool(last)[:, :, None, None], *more)


def shapes(member: Member, recipe: Recipe) -> list[tuple[int, ...]]:
    """Of one image's features."""
    with torch.device("meta"), torch.no_grad():
        net = registry.make_net(member, classes=2).eval()
        net.resize(recipe.size)
        return [tuple(x.shape[1:]) for x in reduced(net, torch.empty(2, 3, *recipe.size))]


def extract_frozen(
    net: Net,
    recipe: Recipe,
    images: NDArray[np.uint8],
    folder: Path,
    *,
    device: torch.device,
    precision: str,
    progress: Progress,
    what: str,
) -> None:
    """Write `features-I.npy`, (copies, N, ...) float32 each, for images (N, H, W, 3) uint8.

    The backbone is as in use, with the precision of training.
    """
    net = net.to(device).eval()
    if recipe.channels_last:
        net = net.to(memory_format=torch.channels_last)
    views, done = copies(recipe), 0
    with ExitStack() as stack, computing(device), torch.inference_mode():
        step, files = stack.enter_context(progress.task(what, views * len(images))), []
        for mirrored, batch in _batches(images, views, device):
            pixels = batch.permute(0, 3, 1, 2)
            with autocast(device, precision):
                given = normalise(pixels, device, channels_last=recipe.channels_last, scale=net.scale)
                made = [x.contiguous().cpu().numpy() for x in reduced(net, given.flip(3) if mirrored else given)]
            for i, part in enumerate(made):
                if not done:
                    shape = (views, len(images), *part.shape[1:])
                    needed = int(np.prod(shape, dtype=np.int64)) * part.itemsize
                    stack.enter_context(room_for(folder / f"features-{i}.npy", needed))
                    files.append(stack.enter_context(open(folder / f"features-{i}.npy", "wb")))
                    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(files[i], header)
                files[i].write(part.tobytes())
            done += len(batch)
            step(len(batch))


def _batches(images: NDArray[np.uint8], views: int, device: torch.device) -> Iterator[tuple[bool, Tensor]]:
    """All images in order, and then all again to be mirrored."""
    n, size = len(images), min(BATCH, len(images))

    def fill(rows: range, arrays: list[NDArray[np.uint8]]) -> None:
        arrays[0][: len(rows)] = images[rows.start : rows.stop]

    parts = [(bool(view), range(n)[i : i + size]) for view in range(views) for i in range(0, n, size)]
    works = ((part, partial(fill, part[1])) for part in parts)
    with closing(prefetch(works, [((size, *images.shape[1:]), torch.uint8)], device)) as pieces:
        for (mirrored, rows), (pictures,) in pieces:
            yield mirrored, pictures[: len(rows)]


def load_frozen(folder: Path) -> list[NDArray[np.float32]]:
    """The arrays that `extract_frozen` wrote, as memory maps."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob("features-*.npy"))]
