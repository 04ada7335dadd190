"""VeRi-776 (Liu et al., ECCV 2016): vehicles. File names as in Market-1501, other folder names."""

from __future__ import annotations

from pathlib import Path

from models.data.layouts.market1501 import read_folder
from models.data.split import Benchmark, make_split


def read_veri776(root: Path) -> Benchmark:
    """`0001_c001_00016450_0.jpg` is vehicle 1, camera 1."""
    return Benchmark(
        "veri776",
        root,
        train=read_folder(root / "image_train"),
        query=read_folder(root / "image_query"),
        gallery=read_folder(root / "image_test"),
        unlabelled=make_split([]),
    )
