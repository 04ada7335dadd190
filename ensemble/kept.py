"""Kept results of the ensemble, opened again by their keys: banks, and the neighbours found among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from configs.artifact import Store
from configs.disk import save_array
from ensemble.bank import FeatureBank, check_same_images, load_bank
from ensemble.neighbours import Neighbours


def open_banks(store: Store, keys: Mapping[str, str]) -> list[FeatureBank]:
    """Banks by their keys, checked file by file and against each other."""
    banks = [load_bank(member, store.open(key), key) for member, key in keys.items()]
    check_same_images(banks)
    return banks


def save_neighbours(folder: Path, found: Neighbours) -> None:
    """Write the lists as arrays; what was not asked for is not there."""
    for name, value in vars(found).items():
        if value is not None and name != "held":
            save_array(folder / f"{name}.npy", np.asarray(value))


def load_neighbours(folder: Path) -> Neighbours:
    """Read the lists; the arrays stay on disk as memory maps."""
    said = {"total": float, "made_of": str}
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy")) if path.stem not in said}
    return Neighbours(**arrays, **{name: kind(np.load(folder / f"{name}.npy")) for name, kind in said.items()})
