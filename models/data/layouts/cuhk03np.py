"""CUHK03, new protocol (Zhong et al., CVPR 2017): two data sets, each in Market-1501's folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.data.layouts.lists import first_folder
from models.data.layouts.market1501 import read_market1501
from models.data.split import Benchmark


def read_cuhk03np(root: Path) -> Benchmark:
    """Boxes of a detector."""
    return replace(read_market1501(first_folder(root, ("detected",), "cuhk03np")), name="cuhk03np")


def read_cuhk03np_labeled(root: Path) -> Benchmark:
    """Boxes drawn by hand."""
    return replace(read_market1501(first_folder(root, ("labeled",), "cuhk03np_labeled")), name="cuhk03np_labeled")
