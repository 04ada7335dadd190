"""Average linkage (UPGMA; Sokal & Michener, 1958) on a sparse graph, where known identities never join.

The distance of two clusters is the mean over all their pairs of images; a pair that the graph lacks counts as 1.
Differences from the usual form: merging ends at the threshold, so no tree is made; and the clusters of a part of the
graph that no pair within the threshold connects are never compared. A mean is at most the threshold only if one of its
pairs is, so this changes nothing.

The heap has one entry a cluster, its nearest when it was last looked at. A mean lies between those it is made of, so
no cluster comes nearer by a merge: an entry that is out of date is too early, and is looked at again (Muellner, 2011).

Similarities are counted in whole units of 2^-30. Sums are then exact, and rounding decides no tie. Equal distances are
merged by the lower image first.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ensemble.clusters.options import check_threshold
from ensemble.clusters.pair_graph import Labels, PairGraph, renumbered, start_groups

UNIT = 2**30
Entry = tuple[float, int, int, int]


@dataclass(frozen=True)
class Average:
    """Clusters merged nearest first, while their mean distance is within the threshold.

    Attributes:
        threshold: largest mean distance of two clusters that merge, 0 to below 1.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        check_threshold(self.threshold)

    def labels(self, graph: PairGraph, known: ArrayLike | None = None) -> Labels:
        """See `Method`."""
        groups, anchored = start_groups(graph.n, known)
        sizes = np.bincount(groups, minlength=anchored.size)
        one, other, near = _between(graph, groups, anchored)
        close = 1 - near / (UNIT * sizes[one] * sizes[other]) <= self.threshold
        m = anchored.size
        parts = connected_components(
            coo_matrix((np.ones(int(close.sum()), bool), (one[close], other[close])), (m, m)), directed=False
        )[1]
        inside = np.flatnonzero(parts[one] == parts[other])
        inside = inside[np.argsort(parts[one[inside]], kind="stable")]
        starts = np.flatnonzero(np.diff(parts[one[inside]], prepend=-1))
        root = np.arange(m)
        for begin, end in pairwise(np.append(starts, inside.size)):
            rows = inside[begin:end]
            _merge(one[rows], other[rows], near[rows], sizes, anchored, self.threshold, root)
        return renumbered(root[groups])


def _between(
    graph: PairGraph, groups: Labels, anchored: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of groups that may merge, one < other, and the sum of the similarities between them in units."""
    ends = groups[graph.first], groups[graph.second]
    keep = (ends[0] != ends[1]) & ~(anchored[ends[0]] & anchored[ends[1]])
    one, other = np.minimum(*ends)[keep], np.maximum(*ends)[keep]
    units = np.rint((1 - graph.dist[keep].astype(np.float64)) * UNIT).astype(np.int64)
    key = one * anchored.size + other
    at = np.argsort(key, kind="stable")
    key, units = key[at], units[at]
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    sums = np.add.reduceat(units, starts) if starts.size else units
    return key[starts] // anchored.size, key[starts] % anchored.size, sums


def _merge(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    near: NDArray[np.int64],
    sizes: NDArray[np.int64],
    anchored: NDArray[np.bool_],
    threshold: float,
    root: NDArray[np.int64],
) -> None:
    """Merge the groups of one part of the graph; `root` gets the lowest group of each one's cluster."""
    inside = np.union1d(one, other)
    size, held = sizes[inside].tolist(), anchored[inside].tolist()
    links: list[dict[int, int]] = [{} for _ in size]  # cluster -> cluster -> sum of similarities
    own = range(len(size))  # the keys are the same objects in all of them
    for a, b, units in zip(
        np.searchsorted(inside, one).tolist(), np.searchsorted(inside, other).tolist(), near.tolist(), strict=True
    ):
        links[a][own[b]] = links[b][own[a]] = units
    into = [*own]

    def nearest(a: int) -> Entry | None:
        """The nearest cluster within the threshold: mean, lower, higher, a."""
        found: Entry | None = None
        for b, units in links[a].items():
            mean = 1 - units / (UNIT * size[a] * size[b])
            if mean <= threshold:
                entry = (mean, a, b, a) if a < b else (mean, b, a, a)
                found = entry if found is None or entry < found else found
        return found

    last = [nearest(a) for a in own]  # each cluster's entry in the heap: no later than its nearest
    heap = [entry for entry in last if entry]
    heapq.heapify(heap)
    while heap:
        entry = heapq.heappop(heap)
        mean, a, b, asked = entry
        if last[asked] is not entry:
            continue
        if b in links[a] and 1 - links[a][b] / (UNIT * size[a] * size[b]) == mean:  # neither has grown since
            _join(a, b, links, size, held)
            into[b], last[b], asked = a, None, a
        last[asked] = again = nearest(asked)
        if again:
            heapq.heappush(heap, again)
    for b, a in enumerate(into):  # a <= b, and a's own is final
        into[b] = into[a]
    root[inside] = inside[into]


def _join(a: int, b: int, links: list[dict[int, int]], size: list[int], held: list[bool]) -> None:
    """Cluster b becomes a part of cluster a."""
    for x, units in links[b].items():
        del links[x][b]
        if x != a:
            links[a][x] = links[x][a] = links[a].get(x, 0) + units
    links[b] = {}
    size[a] += size[b]
    held[a] = held[a] or held[b]
    if held[a]:
        for x in [x for x in links[a] if held[x]]:
            del links[a][x], links[x][a]
