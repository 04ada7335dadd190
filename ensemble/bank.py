"""One member's features with the names of the images they are of. Banks of different images refuse to be fused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.disk import save_array, write_text
from configs.errors import MismatchedBanks

FEATS, NAMES = "feats.npy", "names.json"


@dataclass(frozen=True)
class FeatureBank:
    """feats: (N, D) float32 unit rows, query first; N = Q + G. fingerprint: the digest of everything they come from."""

    member: str
    feats: NDArray[np.float32]
    query_names: tuple[str, ...]
    gallery_names: tuple[str, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        named = len(self.query_names) + len(self.gallery_names)
        if self.feats.ndim != 2 or len(self.feats) != named:
            raise MismatchedBanks(f"{self.member}: features of shape {self.feats.shape} for {named} names")

    @property
    def n_query(self) -> int:
        """Q."""
        return len(self.query_names)


def check_same_images(banks: Sequence[FeatureBank]) -> None:
    """Every bank lists the images of the first, in its order.

    Raises:
        MismatchedBanks: there is no bank, or two of them differ; the message names the first difference.
    """
    if not banks:
        raise MismatchedBanks("no feature bank given; at least one is wanted")
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


def save_bank(
    folder: Path, feats: NDArray[np.float32], query_names: Sequence[str], gallery_names: Sequence[str]
) -> None:
    """Write a bank's two files."""
    save_array(folder / FEATS, np.ascontiguousarray(feats, dtype=np.float32))
    names = {"query": list(query_names), "gallery": list(gallery_names)}
    write_text(folder / NAMES, json.dumps(names, ensure_ascii=False) + "\n")


def load_bank(member: str, folder: Path, fingerprint: str) -> FeatureBank:
    """Open a bank; the features stay on disk as a memory map."""
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    feats = np.load(folder / FEATS, mmap_mode="r")
    return FeatureBank(member, feats, tuple(names["query"]), tuple(names["gallery"]), fingerprint)


def _at(names: tuple[str, ...], place: int) -> str:
    return repr(names[place]) if place < len(names) else "nothing"
