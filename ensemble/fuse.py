"""The plain ensemble: gallery images by the weighted sum of the members' cosine distances, without re-ranking."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import cpu
from ensemble.neighbours import members_of, product

Block = tuple[slice, NDArray[np.float32]]


def check_n_query(n_query: int, n: int) -> None:
    """Raise ValueError unless 0 < n_query < n."""
    if not 0 < n_query < n:
        raise ValueError(f"n_query is {n_query} of {n} images: want at least one query and one gallery image")


def blocks(
    feats: NDArray | Sequence[NDArray],
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream sum_m w_m (1 - cos): pairs of (slice of query rows, (b, G) float32)."""
    members, chosen = members_of(feats, weights)
    n = len(members[0])
    check_n_query(n_query, n)
    for start in range(0, n_query, block):
        rows = slice(start, min(n_query, start + block))
        dist = np.float32(sum(chosen)) - product(members, chosen, rows, slice(n_query, n))
        yield rows, np.maximum(dist, 0, out=dist)


def rank(
    feats: NDArray | Sequence[NDArray],
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    top_k: int | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Gallery images nearest first, ties by lower index: order (Q, K) int32 in 0..G-1, dist (Q, K) float32."""
    return ranked(blocks(feats, n_query, weights=weights, device=device, n_jobs=n_jobs), top_k)


def ranked(stream: Iterator[Block], top_k: int | None) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Sort streamed distances, ties by lower index, and keep the first top_k (None: all)."""
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: want at least 1, or None for the whole gallery")
    orders, dists = [], []
    for _, dist in stream:
        keep = dist.shape[1] if top_k is None else min(top_k, dist.shape[1])
        if keep < 512:
            order, value, _ = cpu.top_rows(-dist, 0, keep)
            orders.append(order)
            dists.append(-value)
        else:
            order = np.argsort(dist, axis=1, kind="stable")[:, :keep].astype(np.int32)
            orders.append(order)
            dists.append(np.take_along_axis(dist, order, 1))
    return np.concatenate(orders), np.concatenate(dists)
