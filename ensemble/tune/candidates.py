"""Approximate neighbours under other member weights without a new search, to try many weights.

A search under a few weightings, the anchors, gives each image its candidates. Each member's distance to every candidate
is stored, so other weights cost one weighted sum per candidate.
Images that are candidates under no anchor are left out: lists are seldom wrong, but errors are not detected.
`ensemble.neighbours.nearest` searches exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels import ranked_lists
from ensemble.kernels.parallel import one_thread_products, over_rows, workers
from ensemble.neighbours.block_search import choose_block_precision, exact_lists_from_rows, runs
from ensemble.neighbours.group_search import GroupSearch, group_labels
from ensemble.neighbours.knn import Neighbours, Search, check_lists
from ensemble.neighbours.search_cost import default_superblock
from ensemble.neighbours.similarity import MemberFeatures, as_source, checked_weights

LOWEST = 32  # least similar images per row, to find the largest distance under other weights
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CandidateSet:
    """Candidates of N images.

    Attributes:
        n_query, k, top_k: the lists that it can give. If all images are queries, all are the gallery too.
        indptr, index: (N + 1,) and (C,) int32, ascending candidates of each row.
        dist: (M, C) float32 distances by member, from float32 products, with errors of a few 1e-7.
        kinds: with groups, the candidates of the row's own group and those of others.
    """

    n_query: int
    k: int
    top_k: int
    indptr: NDArray[np.int64]
    index: NDArray[np.int32]
    dist: Floats
    kinds: tuple["CandidateSet", "CandidateSet"] | None = None

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    @property
    def first(self) -> int:
        """The first image of the gallery."""
        return self.n_query % self.n


def collect_candidates(
    feats: NDArray | Sequence[NDArray] | MemberFeatures,
    k: int,
    n_query: int | None,
    top_k: int,
    *,
    anchors: Sequence[Sequence[float]] | None = None,
    groups: ArrayLike | None = None,
    n_jobs: int = -1,
) -> CandidateSet:
    """Search under each anchor and collect the candidates. Costs a little more than one search per anchor.

    Args:
        feats, n_jobs: as in `neighbours.nearest`; on the CPU, without penalties.
        k, n_query, top_k: the lists that are needed: k nearest of all, and each query's top_k in the gallery.
            n_query None: each image is asked of all, and its list holds the image itself.
        anchors: (A, M) weightings. Each member alone is always added; None adds equal weights.
        groups: labels (N,), to collect the k nearest of a row's own group and of others.

    Raises:
        ValueError: bad features, weights or sizes; penalties, or distances instead of features.
    """
    source = as_source(feats, None, None, n_jobs)
    if not isinstance(source, MemberFeatures) or source.penalties:
        raise ValueError("other weights are for features without penalties: distance matrices have no members")
    if n_query is not None:
        check_lists(n_query, source.n, top_k)
    n_query = source.n if n_query is None else n_query
    if k < 1:
        raise ValueError(f"k is {k}: want at least 1")
    members, n = len(source.members), source.n
    k, top_k = min(k, n), min(top_k, n - n_query % n)
    wanted = [*np.eye(members), *([np.ones(members)] if anchors is None else anchors)]
    labels = None if groups is None else group_labels(groups, n)
    found = [key for w in wanted for key in _under(source.weighted(w), labels, k, n_query, top_k, n_jobs)]
    every = _distinct(np.concatenate(found))
    index, indptr = (every % n).astype(np.int32), np.searchsorted(every, np.arange(n + 1) * n)
    pool = CandidateSet(n_query, k, top_k, indptr, index, _distances(source, indptr, index, n_jobs))
    return (
        pool if labels is None else replace(pool, kinds=(_of_kind(pool, labels, True), _of_kind(pool, labels, False)))
    )


def _of_kind(pool: CandidateSet, labels: NDArray[np.int32], same: bool) -> CandidateSet:
    """The candidates of the row's own group, or of the others."""
    rows = np.repeat(np.arange(pool.n), np.diff(pool.indptr))
    kept = ((labels[rows] == labels[pool.index]) & (labels[rows] >= 0) | (rows == pool.index)) == same
    indptr = np.concatenate([[0], np.cumsum(kept)])[pool.indptr]
    return replace(pool, indptr=indptr, index=pool.index[kept], dist=np.ascontiguousarray(pool.dist[:, kept]))


def nearest(pool: CandidateSet, weights: Sequence[float], n_jobs: int = -1) -> Neighbours:
    """The nearest candidates under these weights, as neighbours."""
    w = np.array(checked_weights(weights, len(pool.dist)))
    order, dist, farthest = _chosen(pool, w, pool.k, pool.n, 0, n_jobs)
    near_order, near_dist, _ = _chosen(pool, w, pool.top_k, pool.n_query, pool.first, n_jobs)
    kinds: dict[str, Any] = {}
    for name, part in zip(("intra", "inter"), pool.kinds or (), strict=False):
        kinds[f"{name}_order"], kinds[f"{name}_dist"], _ = _chosen(part, w, pool.k, pool.n, 0, n_jobs)
    return Neighbours(order, dist, farthest, float(w.sum()), near_order - np.int32(pool.first), near_dist, **kinds)


def _under(
    source: MemberFeatures, labels: NDArray[np.int32] | None, k: int, n_query: int, top_k: int, n_jobs: int
) -> list[NDArray[np.int64]]:
    """One anchor's candidates as row * N + column: three times the list lengths, and the least similar images."""
    n, chosen = source.n, choose_block_precision(source, "auto", n_jobs)
    asked: tuple[int, int | None, int | None] = (min(n, 3 * k), n_query, 2 * top_k)
    if n_query == n:
        asked = min(n, max(3 * k, 2 * top_k)), None, None
    how = *asked, chosen, n_jobs, LOWEST
    search = Search(source, *how) if labels is None else GroupSearch(source, labels, *how)
    search.all_pairs(default_superblock(n, workers(n_jobs)), None)
    keys = []
    pairs = [(kind, *side) for kind in search.kinds for side in kind.sides]
    for kind, pools, sides in pairs:
        (held, _, _, top), (low_held, _, _, low) = pools.flattened(np.float32(chosen.slack))
        rows = np.arange(pools.rows)
        keys += [np.repeat(rows, np.maximum(h, 0)) * n + w for h, w in ((held, top), (low_held, low))]
        for run, cols in runs(np.flatnonzero((held < 0) | (low_held < 0)), sides):
            order, _, _ = exact_lists_from_rows(source, run, pools.k, cols, n_jobs, kind.omit)
            keys.append((rows[run, None] * n + order)[order >= 0])
    return keys


def _distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once, ascending. `np.unique` hashes, which is more than ten times slower than a sort here."""
    keys.sort()
    kept = np.ones(keys.size, bool)
    np.not_equal(keys[1:], keys[:-1], out=kept[1:])
    return keys[kept]


def _distances(source: MemberFeatures, indptr: NDArray[np.int64], index: NDArray[np.int32], n_jobs: int) -> Floats:
    """(M, C) distances of row i to index[indptr[i]:indptr[i + 1]] by member, from products of full rows."""
    out = np.empty((len(source.members), index.size), np.float32)
    with one_thread_products():
        for m, row in enumerate(out):
            alone = source.weighted(np.eye(len(source.members))[m].tolist())

            def fill(rows: slice, row: Floats = row, alone: MemberFeatures = alone) -> None:
                part = slice(indptr[rows.start], indptr[rows.stop])
                block = alone.block(rows, slice(0, source.n))
                at = np.repeat(np.arange(len(block)), np.diff(indptr[rows.start : rows.stop + 1]))
                row[part] = np.maximum(1 - block[at, index[part]], 0)

            over_rows(fill, source.n, n_jobs, most=256)
    return out


def _chosen(
    pool: CandidateSet, w: NDArray[np.float64], k: int, rows: int, first: int, n_jobs: int
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """The k nearest candidates of rows 0.. among images first.., and each row's largest distance to a candidate."""

    def work(part: slice) -> tuple[NDArray[np.int32], Floats, Floats]:
        return ranked_lists.weighed(pool.indptr, pool.index, pool.dist, w, k, first, part.start, part.stop)

    order, dist, farthest = zip(*over_rows(work, rows, n_jobs), strict=True)
    return np.concatenate(order), np.concatenate(dist), np.concatenate(farthest)
