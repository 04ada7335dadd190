"""A ranking: for each query the names of its gallery images, nearest first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.store.atomic_files import save_array, write_text

ORDER = "order.npy"
DIST = "dist.npy"
FACTS = "ranking.json"


@dataclass(frozen=True)
class Ranking:
    """Ranked lists.

    Attributes:
        query_names: Q names.
        gallery_names: G names.
        order: (Q, K) gallery rows, nearest first. A list that leaves images out may end in -1, no image.
        dist: (Q, K) their distances, infinite where there is no image.
        signature: how the ranking was made.
    """

    query_names: tuple[str, ...] = field(repr=False)
    gallery_names: tuple[str, ...] = field(repr=False)
    order: NDArray[np.int32]
    dist: NDArray[np.float32]
    signature: str

    def __post_init__(self) -> None:
        if self.order.shape != self.dist.shape or len(self.order) != len(self.query_names):
            raise ValueError(
                f"order {self.order.shape} and dist {self.dist.shape} for {len(self.query_names)} queries; "
                "wanted (Q, K) for both"
            )

    def lists(self) -> dict[str, list[str]]:
        """Query name -> names of its gallery images, nearest first."""
        return {
            query: [self.gallery_names[i] for i in row if i >= 0]
            for query, row in zip(self.query_names, self.order, strict=True)
        }


def save_ranking(folder: Path, ranking: Ranking) -> None:
    """Write a ranking's three files."""
    save_array(folder / ORDER, ranking.order.astype(np.int32))
    save_array(folder / DIST, ranking.dist.astype(np.float32))
    facts = {"query": ranking.query_names, "gallery": ranking.gallery_names, "signature": ranking.signature}
    write_text(folder / FACTS, json.dumps(facts, ensure_ascii=False) + "\n")


def load_ranking(folder: Path) -> Ranking:
    """Open a ranking, with its arrays as memory maps."""
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return Ranking(
        tuple(facts["query"]),
        tuple(facts["gallery"]),
        np.load(folder / ORDER, mmap_mode="r"),
        np.load(folder / DIST, mmap_mode="r"),
        facts["signature"],
    )
