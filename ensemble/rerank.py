"""k-reciprocal re-ranking (Zhong, Zheng, Cao & Li, CVPR 2017), exactly and sparsely.

In the form of the authors' published Python port:

- s(i, j) = d(i, j)^power over the row's largest over all N columns; power 2 is the port's, 1 the other widespread form;
- the nearest are the first k1 + 1 of a row, itself among them, ties by lower index, and k1 or k2 over N is N;
- a half set is of the first round_half_even(k1 / 2) + 1, and joins where more than 2/3 of it lie in the set before;
- V = exp(-s) on the set, rows scaled to sum 1, then averaged over the first k2 of the row, queries too;
- J = 1 - t / (2 - t), t = sum min(V_q, V_g), and the result is (1 - lam) J + lam s.

Known to differ: ports on faiss (k1 columns, not k1 + 1; softmax weights; no row maximum) and the reid-strong-baseline
family (float16 sums). Off the support of V, J is exactly 1, so a first-K list is found among a query's overlapping
gallery images and its K nearest by s: no Q x G array is needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.device import choose
from ensemble.distances import Distances
from ensemble.fuse import Block, Ranked, distances, ranked
from ensemble.kernels import lists, sets
from ensemble.neighbours import NEAR_SHARE, Neighbours, check_lists, nearest_gallery
from ensemble.parallel import over_rows, spans
from ensemble.source import Features, Penalties, Source, source_of


@dataclass(frozen=True)
class Sparse:
    """Rows of V: row i holds members[indptr[i]:indptr[i + 1]] with those weights, in units of 1 / `sets.UNIT`."""

    indptr: NDArray[np.int64]
    members: NDArray[np.int32]
    weights: NDArray[np.uint32]


@dataclass(frozen=True)
class Setting:
    """k1, k2, lam and power, checked."""

    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    power: int = 2

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1:
            raise ValueError(f"k1 is {self.k1} and k2 is {self.k2}: want at least 1 each")
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam is {self.lam}: want 0 <= lam <= 1")
        if self.power not in (1, 2):
            raise ValueError(f"power is {self.power}: want 1 or 2")

    def check(self, neighbours: Neighbours, n: int, n_query: int, top_k: int | None) -> None:
        """Raise ValueError unless these neighbours serve these images and this setting."""
        check_lists(n_query, n, top_k)
        if len(neighbours.order) != n:
            raise ValueError(f"neighbours are of {len(neighbours.order)} images, features of {n}")
        need, have = min(n, max(self.k1 + 1, self.k2)), neighbours.order.shape[1]
        if have < need:
            raise ValueError(
                f"neighbours hold {have} a row; k1 {self.k1} and k2 {self.k2} need {need}: search for {need}"
            )


def scaled(sim: NDArray, least: NDArray, total: float, power: int) -> NDArray[np.float32]:
    """d^power over the row's largest, d = total - sim; sim and least broadcast; a row of zeros stays zero."""
    dist = np.maximum(np.float32(total) - sim, 0, dtype=np.float32)
    largest = np.maximum(np.float32(total) - least, 0, dtype=np.float32)
    ratio = np.divide(dist, largest, out=np.zeros_like(dist), where=largest > 0)
    return ratio if power == 1 else np.multiply(ratio, ratio, out=ratio)


def encode(neighbours: Neighbours, source: Source, setting: Setting, n_jobs: int) -> Sparse:
    """The weighted expanded reciprocal sets, V, after query expansion (the paper's eqs. 4, 7 and 11)."""
    order, n = neighbours.order, source.n
    full, half = (_reciprocal(order, min(n, c), n_jobs) for c in (setting.k1 + 1, round(setting.k1 / 2) + 1))
    k2 = min(n, setting.k2)

    def weigh(rows: slice) -> tuple[NDArray, NDArray, NDArray]:
        indptr, members = sets.expanded(*full, *half, rows.start, rows.stop)
        sim = sets.known(indptr, members, order, neighbours.sim, rows.start, rows.stop)
        gaps = np.flatnonzero(np.isnan(sim))
        ids = np.arange(rows.start, rows.stop)
        sim[gaps] = source.pairs(ids, np.searchsorted(gaps, indptr), members[gaps])
        total = np.float32(neighbours.total)
        weights = sets.weighed(indptr, sim, neighbours.least[rows], total, setting.power, sets.UNIT / k2)
        return indptr, members, weights

    v = _joined(over_rows(weigh, n, n_jobs))
    if k2 == 1:
        return v
    parts = over_rows(lambda r: sets.average(v.indptr, v.members, v.weights, order, k2, r.start, r.stop), n, n_jobs)
    return _joined(parts)


def _reciprocal(order: NDArray[np.int32], c: int, n_jobs: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    parts = over_rows(lambda rows: sets.reciprocal(order, c, rows.start, rows.stop), len(order), n_jobs)
    members, size = zip(*parts, strict=True)
    return np.concatenate(members), np.concatenate(size)


def _joined(parts: list[tuple[NDArray, NDArray, NDArray]]) -> Sparse:
    lengths = np.concatenate([np.diff(indptr) for indptr, _, _ in parts])
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sparse(indptr, np.concatenate([m for _, m, _ in parts]), np.concatenate([w for _, _, w in parts]))


class _Overlap:
    """Sums of the smaller weights, t, of some queries with the gallery images where they are not zero."""

    def __init__(self, v: Sparse, n_query: int) -> None:
        self.v, self.n_gallery = v, len(v.indptr) - 1 - n_query
        self.inverse = sets.inverted(v.indptr, v.members, v.weights, n_query)

    def of(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """(indptr (b + 1,), gallery (nnz,), t (nnz,))."""
        v = self.v
        return sets.overlap(v.indptr, v.members, v.weights, *self.inverse, self.n_gallery, rows.start, rows.stop)


def blocks(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream (1 - lam) J + lam s: pairs of (slice of query rows, (b, G) float32), for scores of whole lists.

    Arguments and errors as `k_reciprocal`'s; `block` is the most rows at a time on a CPU. What a CUDA device makes
    stays there for `ensemble.metrics.evaluate_blocks` and `ensemble.fuse.ranked`, and comes here where it is iterated.
    """
    chosen = choose(device, feats)
    source = source_of(feats, weights, penalties, n_jobs, chosen)
    setting = Setting(k1, k2, lam, power)
    setting.check(neighbours, source.n, n_query, None)
    if isinstance(source, Features) and chosen == "cuda":
        from ensemble import on_card

        return on_card.stream(neighbours, source, n_query, setting)
    return _stream(neighbours, source, n_query, setting, n_jobs, block)


def _stream(
    neighbours: Neighbours, source: Source, n_query: int, setting: Setting, n_jobs: int, block: int
) -> Iterator[Block]:
    overlap, lam = _Overlap(encode(neighbours, source, setting, n_jobs), n_query), np.float32(setting.lam)
    for rows in spans(n_query, block):
        dist = distances(source, rows, n_query, n_jobs)

        def mix(part: slice, rows: slice = rows, dist: NDArray = dist) -> None:
            ids = slice(rows.start + part.start, rows.start + part.stop)
            final = scaled(-dist[part], neighbours.least[ids, None] - np.float32(neighbours.total), 0, setting.power)
            indptr, gallery, t = overlap.of(ids)
            final *= lam
            final += 1 - lam
            final[np.repeat(np.arange(len(final)), np.diff(indptr)), gallery] -= (1 - lam) * (t / (2 - t))
            dist[part] = final

        over_rows(mix, len(dist), n_jobs)
        yield rows, dist


def k_reciprocal(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    top_k: int | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> Ranked:
    """Gallery images of each query by (1 - lam) J + lam s, nearest first, ties by lower index.

    Args:
        neighbours: of the same images, weights and penalties; at least max(k1 + 1, k2) a row. Where they hold each
            query's nearest gallery images (`nearest(..., n_query, top_k)`), no further product is needed.
        feats, weights, penalties: as `ensemble.neighbours.nearest`'s.
        n_query: the first n_query images are the queries.
        top_k: list length K; None ranks the whole gallery.

    Returns:
        order (Q, K) int32 in 0..G-1, dist (Q, K) float32; a gallery under top_k gives lists of its own length.

    Raises:
        ValueError: settings out of range, neighbours of other images or too short for k1 and k2, bad features.
    """
    chosen = choose(device, feats)
    source = source_of(feats, weights, penalties, n_jobs, chosen)
    setting = Setting(k1, k2, lam, power)
    setting.check(neighbours, source.n, n_query, top_k)
    if isinstance(source, Features) and chosen == "cuda":
        from ensemble import on_card

        if top_k is None or top_k > NEAR_SHARE * (source.n - n_query):
            return ranked(on_card.stream(neighbours, source, n_query, setting), top_k)
        return on_card.first_k(neighbours, source, n_query, setting, top_k)
    near, near_sim = neighbours.near_order, neighbours.near_sim
    if top_k is None or near is None or near_sim is None or near.shape[1] < top_k or len(near) != n_query:
        if top_k is None or top_k > NEAR_SHARE * (source.n - n_query):
            return ranked(_stream(neighbours, source, n_query, setting, n_jobs, 256), top_k, n_jobs)
        near, near_sim = nearest_gallery(source, n_query, top_k, device=device, n_jobs=n_jobs)
    near, near_sim = np.ascontiguousarray(near[:, :top_k]), np.ascontiguousarray(near_sim[:, :top_k])
    overlap = _Overlap(encode(neighbours, source, setting, n_jobs), n_query)
    shared = np.float32(neighbours.total), power, np.float32(lam)

    def first_k(rows: slice) -> Ranked:
        found, least = overlap.of(rows), neighbours.least[rows]
        extra_ptr, extra = lists.unlisted(near[rows], near_sim[rows], *found, least, *shared)
        ids = np.arange(rows.start, rows.stop)
        extra_sim = source.pairs(ids, extra_ptr, found[1][extra] + np.int32(n_query))
        return lists.merged(near[rows], near_sim[rows], *found, extra_ptr, extra, extra_sim, least, *shared)

    order, dist = zip(*over_rows(first_k, n_query, n_jobs), strict=True)
    return np.concatenate(order), np.concatenate(dist)
