"""Market-1501 (Zheng et al., ICCV 2015): three folders, labels in the file names."""

from __future__ import annotations

import re
from pathlib import Path

from configs.errors import DataError
from models.data.images import list_images
from models.data.split import Benchmark, Split, make_split

NAME = re.compile(r"^(-1|[0-9]{1,18})_c([0-9]{1,18})(?![0-9])")
SUBFOLDER = "Market-1501-v15.09.15"


def read_market1501(root: Path) -> Benchmark:
    """`0002_c1s1_000451_03.jpg` is person 2, camera 1. Junk (-1) is dropped. Distractors (0000) stay."""
    root = root / SUBFOLDER if (root / SUBFOLDER).is_dir() else root
    return Benchmark(
        "market1501",
        root,
        train=read_folder(root / "bounding_box_train"),
        query=read_folder(root / "query"),
        gallery=read_folder(root / "bounding_box_test"),
        unlabelled=make_split([]),
    )


def read_folder(folder: Path) -> Split:
    """The images of one folder without junk.

    Raises:
        DataError: the folder is missing, or a file name has no identity and camera.
    """
    rows = []
    for path in list_images(folder):
        found = NAME.match(path.name)
        if not found:
            raise DataError(f"{path}: the name must begin with person and camera, such as 0002_c1s1_000451_03.jpg")
        pid, camid = int(found[1]), int(found[2])
        if pid != -1:
            rows.append((path.name, path, pid, camid))
    return make_split(rows)
