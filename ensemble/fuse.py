"""The plain ensemble: gallery images by the weighted sum of the members' cosine distances, without re-ranking."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.device import choose
from ensemble.distances import Distances
from ensemble.kernels import lists
from ensemble.neighbours import NEAR_SHARE, check_lists, nearest_gallery
from ensemble.parallel import one_thread_products, over_rows, spans
from ensemble.source import Features, Penalties, Source, source_of

Block = tuple[slice, NDArray[np.float32]]
Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]


def blocks(
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream sum_m w_m (1 - cos): pairs of (slice of query rows, (b, G) float32).

    Arguments and errors as `ensemble.neighbours.nearest`'s; `block` is the most rows at a time on a CPU. What a CUDA
    device makes stays there for `ensemble.metrics.evaluate_blocks` and `ranked`, and comes here where it is iterated.
    """
    chosen = choose(device, feats)
    source = source_of(feats, weights, penalties, n_jobs, chosen)
    check_lists(n_query, source.n, None)
    if isinstance(source, Features) and chosen == "cuda":
        from ensemble import on_card

        return on_card.plain(source, n_query)
    return _stream(source, n_query, block, n_jobs)


def _stream(source: Source, n_query: int, block: int, n_jobs: int) -> Iterator[Block]:
    for rows in spans(n_query, block):
        yield rows, distances(source, rows, n_query, n_jobs)


def distances(source: Source, rows: slice, n_query: int, n_jobs: int) -> NDArray[np.float32]:
    """Distances of some queries to the whole gallery, (b, G) float32, the gallery shared out over threads."""
    out = np.empty((rows.stop - rows.start, source.n - n_query), np.float32)

    def work(cols: slice) -> None:
        part = np.subtract(np.float32(source.total), source.block(rows, cols))
        np.maximum(part, 0, out=out[:, cols.start - n_query : cols.stop - n_query])

    with one_thread_products():
        over_rows(work, source.n, n_jobs, start=n_query, most=4096)
    return out


def rank(
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    top_k: int | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> Ranked:
    """Gallery images nearest first, ties by lower index: order (Q, K) int32 in 0..G-1, dist (Q, K) float32.

    top_k None ranks the whole gallery. Arguments and errors as `ensemble.neighbours.nearest`'s.
    """
    chosen = choose(device, feats)
    source = source_of(feats, weights, penalties, n_jobs, chosen)
    check_lists(n_query, source.n, top_k)
    if top_k is None or top_k > NEAR_SHARE * (source.n - n_query):
        return ranked(blocks(source, n_query, device=chosen, n_jobs=n_jobs), top_k, n_jobs)
    order, sim = nearest_gallery(source, n_query, top_k, device=device, n_jobs=n_jobs)
    return order, np.maximum(np.float32(source.total) - sim, 0)


def ranked(stream: Iterable[Block], top_k: int | None, n_jobs: int = -1) -> Ranked:
    """Sort streamed distances, ties by lower index, and keep the first top_k (None: all)."""
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: want at least 1, or None for the whole gallery")
    there = getattr(stream, "ranked", None)  # of a stream on a CUDA device
    if there is not None:
        return there(top_k)
    orders, dists = [], []
    for _, dist in stream:
        keep = dist.shape[1] if top_k is None else min(top_k, dist.shape[1])
        for order, value in over_rows(_sorter(dist, keep), len(dist), n_jobs):
            orders.append(order)
            dists.append(value)
    return np.concatenate(orders), np.concatenate(dists)


def _sorter(dist: NDArray[np.float32], keep: int) -> Callable[[slice], Ranked]:
    return lambda rows: lists.smallest(dist[rows], keep)


def summed(streams: Sequence[Iterable[Block]], weights: Sequence[float]) -> Iterator[Block]:
    """The weighted sum of several streams of the same queries, block by block: re-rank each member, then sum.

    Raises:
        ValueError: weights of another length, or streams cut at different rows.
    """
    if len(streams) != len(weights) or not streams:
        raise ValueError(f"{len(weights)} weights for {len(streams)} streams: give one each, and at least one")
    together = getattr(streams[0], "summed", None)  # of streams on a CUDA device
    if together is not None and all(hasattr(s, "summed") for s in streams):
        return together(streams[1:], weights)
    return _summed(streams, weights)


def _summed(streams: Sequence[Iterable[Block]], weights: Sequence[float]) -> Iterator[Block]:
    for parts in zip(*streams, strict=True):
        if any(rows != parts[0][0] or dist.shape != parts[0][1].shape for rows, dist in parts):
            raise ValueError("the streams hold different queries or galleries")
        yield parts[0][0], sum(np.float32(w) * dist for w, (_, dist) in zip(weights, parts, strict=True))
