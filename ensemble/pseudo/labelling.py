"""From the members' features to groups, as a plan asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from configs.schema import Pseudo
from ensemble.neighbours.knn import nearest
from ensemble.pseudo.clustering import Labels, clusters, dbscan, loop_search

K2 = 6  # of dbscan's encoding, as re-ranking's default


def find_groups(
    how: Pseudo, feats: Sequence[NDArray], weights: Sequence[float], *, power: int, seed: int, device: str
) -> Labels:
    """Group images by the members' weighted distance.

    Args:
        feats: (N, D_m) unit rows of each member. weights: one a member.
        power: of the distance in dbscan's encoding. seed: of clusters.

    Returns:
        (N,) int64 labels from 0, -1 for an image without a group.

    Raises:
        ConfigError: no image gets a label, or there are fewer images than groups.
    """
    if how.method == "clusters":
        return clusters(feats, how.groups, weights=weights, seed=seed)
    if how.method == "loop_search":
        return loop_search(nearest(feats, 2, weights=weights, device=device), how.threshold)
    wanted, k2 = min(how.k1 + 1, len(feats[0])), min(K2, how.k1)
    neighbours = nearest(feats, max(wanted, k2), weights=weights, device=device)
    return dbscan(neighbours, feats, how.eps, least=how.least, weights=weights, k1=how.k1, k2=k2, power=power)
