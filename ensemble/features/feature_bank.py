"""One member's features with the names of their images. Banks of different images cannot be fused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, MismatchedBanks
from configs.store.atomic_files import save_array, write_text
from configs.store.store import Store
from ensemble.neighbours.distances import DistanceMatrices, Feats

FEATS = "feats.npy"
NAMES = "names.json"
MATRICES = ("qq", "qg", "gg")


@dataclass(frozen=True)
class FeatureBank:
    """One member's features and image names.

    Attributes:
        member: its name.
        feats: (N, D) float32 unit rows, queries first, N = Q + G; or distances of an external member.
        query_names: Q names.
        gallery_names: G names.
        fingerprint: digest of everything the features were made from.
    """

    member: str
    feats: Feats
    query_names: tuple[str, ...]
    gallery_names: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        named = len(self.query_names) + len(self.gallery_names)
        if len(self.feats.shape) != 2 or len(self.feats) != named:
            raise MismatchedBanks(f"{self.member}: features of shape {self.feats.shape} for {named} names")

    @property
    def n_query(self) -> int:
        """Q."""
        return len(self.query_names)


def check_same_images(banks: Sequence[FeatureBank]) -> None:
    """Check that all banks list the same images in the same order.

    Raises:
        MismatchedBanks: there is no bank, or two banks differ. The message names the first difference.
    """
    if not banks:
        raise MismatchedBanks("no feature bank given; want at least one")
    first = banks[0]
    for other in banks[1:]:
        for side in ("query_names", "gallery_names"):
            a, b = getattr(first, side), getattr(other, side)
            if a != b:
                place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
                raise MismatchedBanks(
                    f"{first.member} and {other.member} list different images: {side.split('_')[0]} {place} is "
                    f"{_at(a, place)} in one and {_at(b, place)} in the other ({len(a)} and {len(b)} names). "
                    "Extract both from the same data set"
                )


def feature_arrays(banks: Sequence[FeatureBank], what: str) -> list[NDArray[np.float32]]:
    """Each bank's features, for uses that need features; what: the use, for the message.

    Raises:
        ConfigError: a bank has distances instead.
    """
    feats = [bank.feats for bank in banks if not isinstance(bank.feats, DistanceMatrices)]
    if len(feats) < len(banks):
        name = next(bank.member for bank in banks if isinstance(bank.feats, DistanceMatrices))
        raise ConfigError(f"{what} need features, but member {name!r} has distances: remove it from --members")
    return feats


def save_bank(
    folder: Path, feats: NDArray[np.float32], query_names: Sequence[str], gallery_names: Sequence[str]
) -> None:
    """Write a bank's two files."""
    save_array(folder / FEATS, np.ascontiguousarray(feats, dtype=np.float32))
    save_names(folder, query_names, gallery_names)


def save_names(folder: Path, query_names: Sequence[str], gallery_names: Sequence[str]) -> None:
    """Write the names of a bank's images."""
    names = {"query": list(query_names), "gallery": list(gallery_names)}
    write_text(folder / NAMES, json.dumps(names, ensure_ascii=False) + "\n")


def load_bank(member: str, folder: Path, fingerprint: str) -> FeatureBank:
    """Open a bank with its features or distances as memory maps."""
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    feats: Feats
    if (folder / FEATS).exists():
        feats = np.load(folder / FEATS, mmap_mode="r")
    else:
        feats = DistanceMatrices(*(np.load(folder / f"{key}.npy", mmap_mode="r") for key in MATRICES))
    return FeatureBank(member, feats, tuple(names["query"]), tuple(names["gallery"]), fingerprint)


def _at(names: tuple[str, ...], place: int) -> str:
    return repr(names[place]) if place < len(names) else "nothing"


def open_banks(store: Store, keys: Mapping[str, str]) -> list[FeatureBank]:
    """Open banks by their keys; check every file, and that the images are the same."""
    banks = [load_bank(member, store.open(key), key) for member, key in keys.items()]
    check_same_images(banks)
    return banks
