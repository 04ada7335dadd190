"""Camera-aware Jaccard distance, CA-Jaccard (Chen, Fan, Chen & Zhu, CVPR 2024), exactly and sparsely.

The paper's terms, with cameras as groups; a group may also be a modality or any other label:

- the intra list of a row has the images of its own camera, itself among them; the inter list those of other cameras.
  Both are by distance, ties by lower index. An image whose camera is unknown shares it with no image: its intra list is
  itself alone, and it is in the inter lists of all others;
- CKRNNs: the images of the first k1_intra + 1 of the intra list, and of the first k1_inter + 1 of the inter list, that
  have the row among as many of their own list of that kind. The sets are not expanded by half sets;
- V = exp(-s) on both, rows scaled to sum 1. s is that of `k_reciprocal_encoding.py`;
- CLQE: V averaged over the first k2_intra of the intra list and the first k2_inter of the inter list;
- J and the result (1 - lam) J + lam s are those of `k_reciprocal_encoding.py`.

With one camera for all, inter lists are empty. What is left is the Jaccard distance of k1_intra-reciprocal neighbours
without half sets, averaged over k2_intra. With no known camera, each row has itself and its reciprocal inter list.

The public code differs: where a camera has too few images, it fills a list with images of the wrong kind, and it makes
six N x N arrays. Here such a list is short, and CLQE averages over what it has. Defaults are those of its re-ranking.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import groups, reciprocal_sets
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.distance_blocks import Block, Ranked
from ensemble.neighbours.distances import DistanceMatrices, Feats
from ensemble.neighbours.group_search import host_for_groups
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import Penalties, SimilaritySource, as_source
from ensemble.neighbours.union_search import source_of
from ensemble.rerank.jaccard_options import check_neighbours, check_options
from ensemble.rerank.k_reciprocal_encoding import (
    reranked_lists,
    reranked_rows,
    reranked_stream,
)
from ensemble.rerank.sparse import Sparse, joined

SIZES = ("k1_intra", "k1_inter", "k2_intra", "k2_inter")


@dataclass(frozen=True)
class CAJaccard:
    """CA-Jaccard re-ranking with checked options: an entry of `registry.py`.

    Attributes:
        k1_intra, k1_inter: neighbours of the same and of other cameras that are tested for reciprocity.
        k2_intra, k2_inter: neighbours of either kind that V is averaged over, the image itself among the first.
        lam: weight of the original distance, 0 to 1.
        power: exponent of the original distance, 1 or 2.
        grouped: it reads neighbours by group.
    """

    k1_intra: int = 5
    k1_inter: int = 20
    k2_intra: int = 3
    k2_inter: int = 3
    lam: float = 0.3
    power: int = 2
    grouped: ClassVar[bool] = True
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "k1_intra": (1, 2, 3, 5, 8, 12),
        "k1_inter": (3, 5, 7, 10, 14, 20, 28),
        "k2_intra": (1, 2, 3, 4),
        "k2_inter": (0, 1, 2, 3, 4, 6),
        "power": (1, 2),
        "lam": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    }
    known: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"k1_intra": 5, "k1_inter": 20, "k2_intra": 2, "k2_inter": 4, "lam": 0.3},
        {"k1_intra": 2, "k1_inter": 7, "k2_intra": 1, "k2_inter": 2, "lam": 0.3},
    )

    def __post_init__(self) -> None:
        check_options(self, SIZES)
        for name in SIZES:
            least = 0 if name == "k2_inter" else 1
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: want at least {least}")

    @property
    def encoding(self) -> tuple[Any, ...]:
        """The options that V depends on."""
        return *(getattr(self, name) for name in SIZES), self.power

    def neighbours_read(self, n: int) -> int:
        """Neighbours of either kind needed per image, for n images."""
        return min(n, max(self.k1_intra + 1, self.k1_inter + 1, self.k2_intra, self.k2_inter))

    def lists(
        self,
        neighbours: Neighbours,
        feats: Sequence[NDArray | DistanceMatrices] | SimilaritySource,
        n_query: int,
        *,
        top_k: int | None = None,
        left_out: LeftOut | None = None,
        **given: Any,
    ) -> Ranked:
        """Rank the gallery for each query, nearest first, ties by lower index: order (Q, K), dist (Q, K).

        Args:
            neighbours: from `nearest(..., groups=...)` with the same features, weights and penalties.
            top_k: list length. None ranks the whole gallery.
            left_out: the images to leave out, as given to `nearest`.
            given: weights, penalties, device, n_jobs of `ensemble.neighbours.nearest`.

        Raises:
            ValueError: bad features, too few neighbours, neighbours without groups or of other features.
        """
        source, n_jobs = self._source(feats, **given)
        self.check(neighbours, source, n_query, top_k, source_of(source, left_out, n_jobs))
        v = self.encode(neighbours, source, n_jobs)
        rows = reranked_rows(neighbours, source, n_query, v, self, n_jobs, left_out)
        return reranked_lists(neighbours, source, rows, top_k, left_out)

    def stream(
        self,
        neighbours: Neighbours,
        feats: Sequence[Feats] | SimilaritySource,
        n_query: int,
        *,
        left_out: LeftOut | None = None,
        block: int = 256,
        **given: Any,
    ) -> Iterator[Block]:
        """Stream (1 - lam) J + lam s as pairs (slice of query rows, (b, G) float32). Arguments as in `lists`."""
        source, n_jobs = self._source(feats, **given)
        self.check(neighbours, source, n_query, None, source_of(source, left_out, n_jobs))
        v = self.encode(neighbours, source, n_jobs)
        rows = reranked_rows(neighbours, source, n_query, v, self, n_jobs, left_out)
        return reranked_stream(rows, left_out, block)

    def check(
        self,
        neighbours: Neighbours,
        source: SimilaritySource,
        n_query: int,
        top_k: int | None,
        graph: SimilaritySource | None = None,
    ) -> None:
        """Raise ValueError unless the neighbours belong to this source and are enough for these options.

        graph: the images of the neighbours, if a query is a gallery image.
        """
        check_neighbours(neighbours, source, n_query, top_k, graph)
        if neighbours.intra_order is None:
            raise ValueError("the neighbours were searched without groups: search with groups=, such as cameras")
        need, have = self.neighbours_read((graph or source).n), neighbours.intra_order.shape[1]
        if have < need:
            told = ", ".join(f"{name} {getattr(self, name)}" for name in SIZES)
            raise ValueError(f"{have} neighbours per image; {told} need {need}: search with k={need}")

    def encode(self, neighbours: Neighbours, source: SimilaritySource, n_jobs: int) -> Sparse:
        """V after CLQE."""
        del source  # every member of a set is in a list, with its distance
        near: Any = neighbours
        intra, intra_dist, inter, inter_dist = near.intra_order, near.intra_dist, near.inter_order, near.inter_dist
        n, wide = intra.shape
        c, d = min(wide, self.k1_intra + 1), min(wide, self.k1_inter + 1)

        def weigh(rows: slice) -> tuple[NDArray, NDArray, NDArray]:
            found = groups.mutual(intra, intra_dist, c, inter, inter_dist, d, rows.start, rows.stop)
            indptr, members, dist = found
            unit = reciprocal_sets.UNIT
            return (
                indptr,
                members,
                reciprocal_sets.weighed(indptr, dist, near.farthest[rows], self.power, unit),
            )

        v = joined(over_rows(weigh, n, n_jobs))
        listed = np.concatenate([intra[:, : self.k2_intra], inter[:, : self.k2_inter]], axis=1)
        return joined(
            over_rows(lambda r: groups.average(v.indptr, v.members, v.weights, listed, r.start, r.stop), n, n_jobs)
        )

    def _source(
        self,
        feats: Sequence[Feats] | SimilaritySource,
        *,
        weights: Sequence[float] | None = None,
        penalties: Penalties | None = None,
        device: str = "auto",
        n_jobs: int = -1,
    ) -> tuple[SimilaritySource, int]:
        host_for_groups(device, feats)
        return as_source(feats, weights, penalties, n_jobs), n_jobs
