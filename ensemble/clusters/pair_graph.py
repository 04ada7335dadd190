"""The sparse graph that is clustered: pairs of images with their distance. A pair that it lacks is at distance 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

Labels = NDArray[np.int64]
APART = 1.0  # the distance of every pair that the graph lacks
BLOCK = 2**22  # entries of lists at a time


@dataclass(frozen=True)
class PairGraph:
    """Distances between some pairs of n images; every other pair is at distance 1.

    Attributes:
        first, second: (P,) int32, first < second, each pair once, ascending.
        dist: (P,) float32, 0 to below 1.
    """

    n: int
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    dist: NDArray[np.float32]

    def __post_init__(self) -> None:
        shapes = {self.first.shape, self.second.shape, self.dist.shape}
        if len(shapes) > 1 or self.first.ndim != 1:
            raise ValueError(f"first, second and dist have shapes {sorted(shapes)}: want (P,) for all")
        if self.first.size and not (self.first.min() >= 0 and self.second.max() < self.n):
            raise ValueError(f"pairs hold images {self.first.min()}..{self.second.max()}: want 0..{self.n - 1}")
        key = self.first.astype(np.int64) * self.n + self.second
        if (self.first >= self.second).any() or (np.diff(key) <= 0).any():
            raise ValueError("pairs must have first < second, and ascend without repeats: use graph_of_lists")
        if not ((self.dist >= 0) & (self.dist < APART)).all():
            raise ValueError("distances must be 0 to below 1; leave out a pair that is further apart")

    def within(self, threshold: float) -> PairGraph:
        """The pairs at most so far apart."""
        keep = self.dist <= threshold
        return PairGraph(self.n, self.first[keep], self.second[keep], self.dist[keep])

    def matrix(self) -> csr_matrix:
        """(n, n) sparse: each pair in both directions, and a stored 0 on the diagonal."""
        itself = np.arange(self.n, dtype=np.int32)
        rows = np.concatenate((itself, self.first, self.second))
        columns = np.concatenate((itself, self.second, self.first))
        dist = np.concatenate((np.zeros(self.n, np.float32), self.dist, self.dist))
        return csr_matrix((dist, (rows, columns)), shape=(self.n, self.n))


def graph_of_lists(
    order: NDArray[np.int32],
    dist: NDArray[np.float32],
    *,
    scale: ArrayLike = 1.0,
    apart: ArrayLike | None = None,
) -> PairGraph:
    """The graph of N images from each image's list of the others.

    The distance of a pair is the smaller of its two entries, or its one entry. A pair in no list is at distance 1, and
    so is one whose distance is 1 or more.

    Args:
        order: (N, K) images, nearest first; -1 is no image. An image in its own list is passed over.
        dist: (N, K) their distances.
        scale: what distances are divided by; a number, or (N,) one a list.
        apart: (N,) labels; images of different labels are at distance 1, whatever the lists say.

    Raises:
        ValueError: other shapes, an image that is not there, NaN, or a distance below 0.
    """
    n = len(order)
    if order.ndim != 2 or order.shape != dist.shape:
        raise ValueError(f"order {order.shape} and dist {dist.shape}: want (N, K) for both")
    scales = np.broadcast_to(np.asarray(scale, np.float32), (n,))
    if not (scales > 0).all():
        raise ValueError("scale must be above 0")
    labels = None if apart is None else np.asarray(apart)
    keys, values = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    step = max(1, BLOCK // max(1, order.shape[1]))
    for start in range(0, n, step):
        rows = slice(start, min(n, start + step))
        key, value = _pairs(order[rows], dist[rows] / scales[rows, None], start, n, labels)
        keys.append(key)
        values.append(value)
    return _unique(np.concatenate(keys), np.concatenate(values), n)


def _pairs(
    order: NDArray[np.int32], dist: NDArray[np.float32], start: int, n: int, apart: NDArray | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Key first * n + second, and distance, of the pairs of some lists that are nearer than 1."""
    if order.size and not (order.min() >= -1 and order.max() < n):
        raise ValueError(f"order holds {order.min()}..{order.max()}: want images 0..{n - 1}, or -1")
    there = order >= 0
    if np.isnan(dist[there]).any() or (dist[there] < 0).any():
        raise ValueError("dist holds NaN, or a distance below 0")
    row, place = np.nonzero(there & (dist < APART))
    own, other = row + start, order[row, place].astype(np.int64)
    keep = own != other
    if apart is not None:
        keep &= apart[own] == apart[other]
    own, other = own[keep], other[keep]
    return np.minimum(own, other) * n + np.maximum(own, other), dist[row, place][keep].astype(np.float32)


def _unique(keys: NDArray[np.int64], dist: NDArray[np.float32], n: int) -> PairGraph:
    """Each pair once, with its smallest distance."""
    at = np.argsort(keys, kind="stable")
    keys, dist = keys[at], dist[at]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if keys.size else np.empty(0, np.int64)
    least = np.minimum.reduceat(dist, starts) if starts.size else dist
    keys = keys[starts]
    return PairGraph(n, (keys // n).astype(np.int32), (keys % n).astype(np.int32), least)


def renumbered(labels: NDArray) -> Labels:
    """Groups numbered from 0 by their lowest image; -1 stays."""
    known, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers = np.full(len(known), -1, np.int64)
    real = np.flatnonzero(known >= 0)
    numbers[real[np.argsort(first[real])]] = np.arange(len(real))
    return numbers[inverse]


def start_groups(n: int, known: ArrayLike | None) -> tuple[Labels, NDArray[np.bool_]]:
    """(n,) group of each image before anything is merged, and (M,) whether a group is a known identity.

    Args:
        known: (n,) identity of each image, -1 for unknown. Images of one known identity begin in one group.

    Raises:
        ValueError: not one a image.
    """
    own = np.full(n, -1, np.int64) if known is None else np.asarray(known, np.int64)
    if own.shape != (n,):
        raise ValueError(f"known has shape {own.shape}: want ({n},), one identity an image, -1 for unknown")
    alone = own.max(initial=-1) + 1 + np.arange(n)
    groups = renumbered(np.where(own >= 0, own, alone))
    anchored = np.zeros(groups.max(initial=-1) + 1, bool)
    anchored[groups[own >= 0]] = True
    return groups, anchored
