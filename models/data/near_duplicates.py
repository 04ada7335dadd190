"""Near-duplicates: images that differ by compression, size or brightness alone, found by a perceptual hash.

The hash is the DCT hash of Zauner (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010): the grey
image at 32x32, its 8x8 lowest frequencies, a bit for each above their median. We leave out the mean, so there are 63.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from configs.console.progress import Progress
from models.data.images import decode

SIDE, LOW = 32, 8
MOST_BITS = 4  # that differ in near-duplicates; BENCHMARKS.md has what other images differ in
LEAST_SPREAD = 2.0  # grey levels; a flatter image has no pattern to compare
FLAT = 0  # the hash of such an image, which is like no other
PAIRS = 2**22  # compared at a time

Hashes = NDArray[np.uint64]


def image_hash(pixels: NDArray[np.uint8]) -> int:
    """The hash of one image (H, W, 3) uint8: 63 bits, or FLAT."""
    image = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    grey = np.asarray(image, np.float64)
    if grey.std() < LEAST_SPREAD:
        return FLAT
    basis = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), np.arange(SIDE) + 0.5))
    basis[0] /= np.sqrt(2)
    low = (basis @ grey @ basis.T).ravel()[1:]
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def hash_files(paths: Sequence[Path], progress: Progress, n_jobs: int = -1) -> Hashes:
    """(N,) the hash of each image file.

    Raises:
        ImageError: a file cannot be decoded.
    """
    tasks = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(delayed(_hash_file)(p) for p in paths)
    hashes = np.empty(len(paths), np.uint64)
    with progress.task("comparing images", len(paths)) as step:
        for row, found in enumerate(tasks):
            hashes[row] = found
            step(1)
    return hashes


def _hash_file(path: Path) -> int:
    return image_hash(decode(path))


def near_pairs(hashes: Hashes, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """(P, 2) rows i < j of all near-duplicates of different groups, ascending.

    Args:
        hashes: (N,) of `image_hash`. groups: (N,) such as the identity; images of one group are not compared.
    """
    found, step = [], max(1, PAIRS // max(1, len(hashes)))
    for start in range(0, len(hashes), step):
        differ = np.bitwise_count(hashes[start : start + step, None] ^ hashes[start:])
        i, j = np.nonzero(differ <= MOST_BITS) + np.array(start)
        apart = (i < j) & (groups[i] != groups[j]) & (hashes[i] != FLAT) & (hashes[j] != FLAT)
        found.append(np.stack([i[apart], j[apart]], axis=1))
    return np.concatenate([np.empty((0, 2), np.int64), *found])
