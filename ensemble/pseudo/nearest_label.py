"""Labels by each image's nearest other image: the source design's `loop_search`, and the parts of that graph.

The nearest is by the members' mean cosine distance, or by the re-ranked distance. No N x N array is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from configs.errors import ConfigError
from ensemble.kernels import reciprocal_sets
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import source_of
from ensemble.rerank.k_reciprocal_encoding import KReciprocal, encode

Labels = NDArray[np.int64]


class First(NamedTuple):
    """Of each of N images the nearest other one, (N,), and how far it is, (N,)."""

    order: NDArray[np.int64]
    dist: NDArray[np.float32]


def first_by_cosine(neighbours: Neighbours) -> First:
    """By the members' weighted mean of cosine distances, 0 to 2. neighbours: two a row at least."""
    n, k = neighbours.order.shape
    if n < 2 or k < 2:
        raise ValueError(f"neighbours of {n} images, {k} a row: want 2 images and 2 a row at least")
    rows, place = np.arange(n), (neighbours.order[:, 0] == np.arange(n)).astype(int)  # it may stand behind a copy
    return First(neighbours.order[rows, place].astype(np.int64), neighbours.dist[rows, place] / neighbours.total)


def first_by_reranking(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray],
    setting: KReciprocal,
    *,
    weights: Sequence[float] | None = None,
    n_jobs: int = -1,
) -> First:
    """By the re-ranked distance (1 - lam) J + lam s of every image to all others, 0 to 1.

    J is 1 where two encodings have nothing in common, and no s is smaller than that of the nearest by cosine. So the
    nearest is that one, or one whose encoding overlaps.

    Args:
        neighbours: of all images, max(k1 + 1, k2) a row at least. feats, weights: what they were found with.
    """
    source, plain = source_of(feats, weights), first_by_cosine(neighbours)
    setting.check(neighbours, source, 1, None)
    v, lam, farthest = encode(neighbours, source, setting, n_jobs), np.float32(setting.lam), neighbours.farthest
    inverse = reciprocal_sets.inverted(v.indptr, v.members, v.weights, 0)

    def scaled(dist: NDArray, rows: NDArray) -> NDArray:
        """s; 0 in a row of zeros."""
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
        least = np.minimum.reduceat(dist, indptr[:-1])  # no row is empty: an image overlaps with itself
        nearest = np.minimum.reduceat(np.where(dist == np.repeat(least, np.diff(indptr)), other, source.n), indptr[:-1])
        apart = (1 - lam) + lam * scaled(plain.dist[ids] * np.float32(neighbours.total), ids)
        alone = least > apart
        return np.where(alone, plain.order[ids], nearest), np.where(alone, apart, least)

    order, dist = (np.concatenate(column) for column in zip(*over_rows(work, source.n, n_jobs), strict=True))
    return First(order.astype(np.int64), dist.astype(np.float32))


def loop_search(first: First | Neighbours, threshold: float | None = 0.5) -> Labels:
    """Every image's label is its nearest other image; of two that name each other one name stays. This project's own.

    The name that stays is the lower one, for all who have either. Labels are not followed further: where a names b and
    b names c, a is not with b. An image that only names, and whose name nobody else has, is a group by itself.

    Args:
        first: as above; neighbours give it by cosine.
        threshold: an image is labelled only where its nearest is nearer than this; None labels every image.

    Returns:
        (N,) groups from 0 by their lowest image, -1 without a label.

    Raises:
        ConfigError: no image has a neighbour so near.
    """
    first = _first(first)
    linked = _linked("loop_search", first, threshold)
    image, named = np.arange(len(first.order)), first.order
    each_other = linked & linked[named] & (named[named] == image)
    name = np.where(each_other, np.minimum(image, named), image)
    return renumbered(np.where(linked, name[named], -1))


def first_neighbours(first: First | Neighbours, threshold: float | None = 0.5) -> Labels:
    """The connected parts of the graph in which every image is linked with its nearest other image.

    FINCH's first partition (Sarfraz et al., CVPR 2019) with a threshold. Against `loop_search` the links are followed.
    Arguments and errors as there; an image that no link touches stays without a group.
    """
    first = _first(first)
    linked = np.flatnonzero(_linked("first_neighbours", first, threshold))
    n, named = len(first.order), first.order[linked]
    _, part = connected_components(coo_matrix((np.ones(len(linked), bool), (linked, named)), (n, n)), directed=False)
    touched = np.zeros(n, bool)
    touched[linked] = touched[named] = True
    return renumbered(np.where(touched, part, -1))


def renumbered(labels: NDArray) -> Labels:
    """Groups numbered from 0 by their lowest image; -1 stays."""
    known, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers = np.full(len(known), -1, np.int64)
    real = np.flatnonzero(known >= 0)
    numbers[real[np.argsort(first[real])]] = np.arange(len(real))
    return numbers[inverse]


def _first(given: First | Neighbours) -> First:
    return given if isinstance(given, First) else first_by_cosine(given)


def _linked(method: str, first: First, threshold: float | None) -> NDArray[np.bool_]:
    """(N,) which images have their nearest nearer than the threshold."""
    linked = np.ones(len(first.dist), bool) if threshold is None else first.dist < threshold
    if not linked.any():
        raise ConfigError(
            f"{method} with threshold {threshold:g} labels none of {len(linked)} images: the nearest two are "
            f"{first.dist.min():.3f} apart; take a threshold above that, with --threshold (in a build "
            "--set ensemble.pseudo.threshold=...)"
        )
    return linked
