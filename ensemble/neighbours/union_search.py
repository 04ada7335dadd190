"""Neighbours where queries are gallery images too: each image is searched once, and is one node of the graph.

The rows of a search are queries, then gallery; an image of both has two rows. Two copies would be each other's nearest
neighbour, take two places in every list, and vote twice. So the neighbours are those of the union.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ensemble.kernels.left_out import LeftOut
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.similarity import FeaturesAndDistances, MemberFeatures, SimilaritySource, as_source

if TYPE_CHECKING:
    from ensemble.neighbours.knn import Neighbours


def source_of(source: SimilaritySource, left_out: LeftOut | None, n_jobs: int = -1) -> SimilaritySource:
    """The distances between the images of the union, each once; the source itself where no query is in the gallery."""
    if left_out is None or not left_out.overlaps:
        return source
    rows = left_out.union(source.n).rows
    if isinstance(source, MemberFeatures):
        penalties = [(labels[rows], amount) for labels, amount in source.penalties]
        members, device = [a[rows] for a in source.members], "cpu" if source.prints else "cuda"
        return as_source(members, source.weights, penalties, n_jobs, device)
    if isinstance(source, FeaturesAndDistances):
        features = source.features and source_of(source.features, left_out, n_jobs)
        matrices = tuple(source_of(matrix, left_out) for matrix in source.matrices)
        return replace(source, features=features, matrices=matrices)  # type: ignore[arg-type]
    alone = np.flatnonzero(left_out.own < 0)
    return DistanceMatrices(source.qq[alone][:, alone], source.qg[alone], source.gg)


def nearest_of_union(
    source: SimilaritySource, k: int, left_out: LeftOut, top_k: int | None, **given: Any
) -> Neighbours:
    """`knn.nearest` of the union's images: U lists. The lists of queries, if any, are of gallery rows.

    The queries' lists hold their own image, like a search of all rows; `LeftOut.drop` leaves it out.

    Args:
        top_k: length of the queries' lists; None: no such lists.
        given: further arguments of `knn.nearest`.
    """
    from ensemble.neighbours.knn import SPARE, nearest, nearest_gallery

    n_query = left_out.n_query
    images = source_of(source, left_out, given["n_jobs"])
    wide = min(top_k + SPARE, left_out.n_gallery) if top_k else 0
    whole = bool((left_out.own >= 0).all())  # every query is a gallery image, so its row of the union is its list
    found = nearest(images, max(k, wide) if whole else k, **given)
    near_order = near_dist = None
    if wide and whole:
        near_order = np.ascontiguousarray(found.order[left_out.own][:, :wide])
        near_dist = np.ascontiguousarray(found.dist[left_out.own][:, :wide])
    elif wide:
        options = {key: given[key] for key in ("device", "n_jobs", "precision")}
        near_order, near_dist = nearest_gallery(source, n_query, wide, **options)
    short = found if found.order.shape[1] <= k else found.shortened(k)
    order, dist = np.ascontiguousarray(short.order), np.ascontiguousarray(short.dist)
    return replace(found, order=order, dist=dist, near_order=near_order, near_dist=near_dist, held=None)
