"""Cluster the members' features by the method of a plan."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from configs.schema import Pseudo
from ensemble.neighbours.knn import nearest
from ensemble.pseudo.clustering import METHODS, Labels, clusters, dbscan
from ensemble.pseudo.nearest_label import first_by_cosine, first_by_reranking
from ensemble.rerank.k_reciprocal_encoding import KReciprocal

K2 = 6  # of dbscan's encoding, the default of re-ranking


def find_groups(
    how: Pseudo, feats: Sequence[NDArray], weights: Sequence[float], *, rerank: KReciprocal, seed: int, device: str
) -> Labels:
    """Group images by the members' weighted distance.

    Args:
        feats: (N, D_m) unit rows of each member.
        weights: one per member.
        rerank: re-ranking for the re-ranked distance; dbscan uses its power.
        seed: for clusters.

    Returns:
        (N,) int64 labels from 0, -1 for no group.

    Raises:
        ConfigError: no image gets a label, or there are fewer images than groups.
    """
    if how.method == "clusters":
        return clusters(feats, how.groups, weights=weights, seed=seed)
    if how.method != "dbscan":
        by_cosine = how.distance == "cosine"
        wanted = 2 if by_cosine else max(rerank.neighbours_read(len(feats[0])), min(2, len(feats[0])))
        near = nearest(feats, wanted, weights=weights, device=device)
        first = first_by_cosine(near) if by_cosine else first_by_reranking(near, feats, rerank, weights=weights)
        return METHODS[how.method](first, how.threshold)
    wanted, k2 = min(how.k1 + 1, len(feats[0])), min(K2, how.k1)
    neighbours = nearest(feats, max(wanted, k2), weights=weights, device=device)
    return dbscan(neighbours, feats, how.eps, least=how.least, weights=weights, k1=how.k1, k2=k2, power=rerank.power)
