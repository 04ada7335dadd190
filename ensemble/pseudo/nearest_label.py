"""Labels from each image's nearest other image: `loop_search` of the source design, and connected components.

The distance is the members' mean cosine distance or the re-ranked distance. No N x N array is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from configs.errors import ConfigError
from ensemble.clusters.pair_graph import renumbered
from ensemble.kernels import reciprocal_sets
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import as_source
from ensemble.rerank.k_reciprocal_encoding import KReciprocal, encode

Labels = NDArray[np.int64]


class First(NamedTuple):
    """The nearest other image of each of N images, (N,), and its distance, (N,)."""

    order: NDArray[np.int64]
    dist: NDArray[np.float32]


def first_by_cosine(neighbours: Neighbours) -> First:
    """The nearest by the members' weighted mean cosine distance, 0 to 2. neighbours: at least two per image."""
    n, k = neighbours.order.shape
    if n < 2 or k < 2:
        raise ValueError(f"neighbours of {n} images, {k} per image: want at least 2 images and 2 per image")
    rows = np.arange(n)
    place = (neighbours.order[:, 0] == rows).astype(int)  # a copy may rank before the image itself
    return First(neighbours.order[rows, place].astype(np.int64), neighbours.dist[rows, place] / neighbours.total)


def first_by_reranking(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray],
    setting: KReciprocal,
    *,
    weights: Sequence[float] | None = None,
    n_jobs: int = -1,
) -> First:
    """The nearest by the re-ranked distance (1 - lam) J + lam s, 0 to 1.

    J is 1 for encodings without overlap, and s is smallest for the nearest image by cosine. So the nearest image is
    that one, or one whose encoding overlaps.

    Args:
        neighbours: of all images, at least max(k1 + 1, k2) per image.
        feats, weights: the same as for the neighbours.
    """
    source, plain = as_source(feats, weights), first_by_cosine(neighbours)
    setting.check(neighbours, source, 1, None)
    v = encode(neighbours, source, setting, n_jobs)
    lam = np.float32(setting.lam)
    farthest = neighbours.farthest
    inverse = reciprocal_sets.inverted(v.indptr, v.members, v.weights, 0)

    def scaled(dist: NDArray, rows: NDArray) -> NDArray:
        """s of the pairs; 0 in a row of zeros."""
        largest = farthest[rows]
        return np.divide(dist, largest, out=np.zeros_like(dist), where=largest > 0) ** setting.power

    def work(rows: slice) -> tuple[NDArray, NDArray]:
        ids = np.arange(rows.start, rows.stop)
        indptr, other, t = reciprocal_sets.overlap(
            v.indptr, v.members, v.weights, *inverse, source.n, rows.start, rows.stop
        )
        own = np.repeat(ids, np.diff(indptr))
        dist = (1 - lam) * (1 - t / (2 - t)) + lam * scaled(source.pairs(ids, indptr, other), own)
        dist[own == other] = np.inf
        least = np.minimum.reduceat(dist, indptr[:-1])  # an image overlaps with itself, so no row is empty
        nearest = np.minimum.reduceat(np.where(dist == np.repeat(least, np.diff(indptr)), other, source.n), indptr[:-1])
        apart = (1 - lam) + lam * scaled(plain.dist[ids] * np.float32(neighbours.total), ids)
        alone = least > apart
        return np.where(alone, plain.order[ids], nearest), np.where(alone, apart, least)

    order, dist = (np.concatenate(column) for column in zip(*over_rows(work, source.n, n_jobs), strict=True))
    return First(order.astype(np.int64), dist.astype(np.float32))


def loop_search(first: First | Neighbours, threshold: float | None = 0.5) -> Labels:
    """Label every image by its nearest other image. This project's own method.

    If two images are each other's nearest, both labels become the lower one, for all images that have either.
    Links are not followed further: with a -> b and b -> c, a and b get different labels.
    An image whose label no other image has is a group of one.

    Args:
        first: as above; for `Neighbours`, the nearest by cosine.
        threshold: an image is labelled only if its nearest image is closer than this. None: every image.

    Returns:
        (N,) groups from 0 by their lowest image, -1 without a label.

    Raises:
        ConfigError: no image is labelled.
    """
    first = _first(first)
    linked = _linked("loop_search", first, threshold)
    image, named = np.arange(len(first.order)), first.order
    each_other = linked & linked[named] & (named[named] == image)
    name = np.where(each_other, np.minimum(image, named), image)
    return renumbered(np.where(linked, name[named], -1))


def first_neighbours(first: First | Neighbours, threshold: float | None = 0.5) -> Labels:
    """The connected components of the graph that links every image with its nearest other image.

    This is FINCH's first partition (Sarfraz et al., CVPR 2019) with a threshold. Unlike `loop_search`, links are
    followed. Arguments and errors as there. An image without a link gets no group.
    """
    first = _first(first)
    linked = np.flatnonzero(_linked("first_neighbours", first, threshold))
    n, named = len(first.order), first.order[linked]
    _, part = connected_components(coo_matrix((np.ones(len(linked), bool), (linked, named)), (n, n)), directed=False)
    touched = np.zeros(n, bool)
    touched[linked] = touched[named] = True
    return renumbered(np.where(touched, part, -1))


def _first(given: First | Neighbours) -> First:
    return given if isinstance(given, First) else first_by_cosine(given)


def _linked(method: str, first: First, threshold: float | None) -> NDArray[np.bool_]:
    """(N,) whether each image's nearest image is closer than the threshold."""
    linked = np.ones(len(first.dist), bool) if threshold is None else first.dist < threshold
    if not linked.any():
        raise ConfigError(
            f"{method} with threshold {threshold:g} labels none of {len(linked)} images: the nearest two are "
            f"{first.dist.min():.3f} apart; use a larger --threshold (in a build "
            "--set ensemble.pseudo.threshold=...)"
        )
    return linked
