"""What a look into every image file tells: can it be decoded, how large is it, what is its mean colour, its digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from configs.console.progress import Progress
from configs.errors import ImageError
from models.data.crop import box_of, cropped, image_digest
from models.data.images import read
from models.data.near_duplicates import FLAT, image_hash

GREEN = 65.0  # heshuting555/NAIC_Person_ReID_DMT: an image is `green` where the mean of each channel is above this
SHARE = 256  # files a task


@dataclass(frozen=True)
class InspectedFile:
    """One file. trouble: why it cannot be decoded, or None. height, width: in pixels. mean: of R, G and B.

    remark: what is odd about a file that is read. missing: there is no such file. hash: of its pixels, for
    near-duplicates.
    """

    path: Path
    digest: str
    trouble: str | None = None
    height: int = 0
    width: int = 0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    remark: str = ""
    missing: bool = False
    hash: int = FLAT

    @property
    def domain(self) -> str:
        """`green` or `normal`, as NAIC's teams split it."""
        return "green" if min(self.mean) > GREEN else "normal"


def inspect_files(paths: Sequence[Path], progress: Progress, n_jobs: int = -1) -> list[InspectedFile]:
    """Look into every file, over the cores; in the order given."""
    shares = [paths[start : start + SHARE] for start in range(0, len(paths), SHARE)]
    jobs = min(len(shares), 1) if n_jobs == 1 or len(shares) < 2 else n_jobs
    seen: list[InspectedFile] = []
    with progress.task("files", len(paths)) as step:
        here = Path.cwd()  # workers that are still there from before have the working directory of then
        tasks = Parallel(n_jobs=jobs or 1, return_as="generator")(delayed(_look_all)(here, share) for share in shares)
        for part in tasks:
            seen += part
            step(len(part))
    return seen


def _look_all(here: Path, paths: Sequence[Path]) -> list[InspectedFile]:
    return [replace(inspect_file(cropped(here / path, box_of(path))), path=path) for path in paths]


def inspect_file(path: Path) -> InspectedFile:
    """Look into one file."""
    try:
        digest = image_digest(path)
        pixels, remark = read(path)
    except OSError as e:
        return InspectedFile(path, "", f"cannot be read ({e.strerror})", missing=isinstance(e, FileNotFoundError))
    except ImageError as e:
        return InspectedFile(path, digest, f"cannot be decoded ({e.reason})")
    mean = pixels.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    means = float(mean[0]), float(mean[1]), float(mean[2])
    return InspectedFile(path, digest, None, pixels.shape[0], pixels.shape[1], means, remark, hash=image_hash(pixels))
