"""Features kept a shard at a time, so that an interrupted extraction loses those on their way alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.store.atomic_files import write_file

SHARD = 1024  # images; a multiple of the batch, so that a batch holds the same images in an interrupted extraction


def keep_shard(folder: Path, start: int, feats: NDArray[np.float32]) -> None:
    """Write the features of the images from `start` on; the file's name bears the SHA-256 of its contents."""
    content = BytesIO()
    np.save(content, feats, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{start}-{hashlib.sha256(content.getvalue()).hexdigest()}.npy", content.getvalue())


def find_shard(folder: Path, start: int, count: int, say: Callable[[str], None]) -> NDArray[np.float32] | None:
    """The features of `count` images from `start` on, where an earlier attempt kept them whole: (count, D) float32."""
    for path in sorted(folder.glob(f"{start}-*.npy")):
        content = path.read_bytes()
        if path.stem == f"{start}-{hashlib.sha256(content).hexdigest()}":
            feats: NDArray[np.float32] = np.load(BytesIO(content), allow_pickle=False)
            if len(feats) == count:
                return feats
        say(f"{path}: a damaged shard of features; its {count} images are extracted again")
        path.unlink()
    return None
