"""What the re-rankers by (1 - lam) J + lam s have in common: two options, and the checks of options and neighbours."""

from collections.abc import Sequence
from numbers import Integral
from typing import Protocol

from ensemble.neighbours.knn import OTHER_FEATURES, Neighbours, check_lists
from ensemble.neighbours.similarity import MemberFeatures, SimilaritySource


class Mixing(Protocol):
    """Options that every Jaccard re-ranking has."""

    @property
    def lam(self) -> float: ...

    @property
    def power(self) -> int: ...


def check_options(setting: Mixing, sizes: Sequence[str]) -> None:
    """Raise ValueError unless the sizes and power are whole numbers, and lam and power are in range."""
    for name in (*sizes, "power"):
        if not isinstance(getattr(setting, name), Integral):
            raise ValueError(f"{name} is {getattr(setting, name)!r}: want a whole number")
    if not 0 <= setting.lam <= 1:
        raise ValueError(f"lam is {setting.lam}: want 0 <= lam <= 1")
    if setting.power not in (1, 2):
        raise ValueError(f"power is {setting.power}: want 1 or 2")


def check_neighbours(
    neighbours: Neighbours,
    source: SimilaritySource,
    n_query: int,
    top_k: int | None,
    graph: SimilaritySource | None = None,
) -> None:
    """Raise ValueError unless the neighbours belong to this source, and the lists can be made.

    graph: the images of the neighbours, if a query is a gallery image.
    """
    check_lists(n_query, source.n, top_k)
    source = graph or source
    n = source.n
    if len(neighbours.order) != n:
        raise ValueError(f"the neighbours have {len(neighbours.order)} images, the features {n}")
    measured = not isinstance(source, MemberFeatures) or source.prints  # else a CUDA device measures them
    if measured and neighbours.made_of and neighbours.made_of != source.fingerprint:
        raise ValueError(OTHER_FEATURES)
