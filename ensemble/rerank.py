"""k-reciprocal re-ranking (Zhong, Zheng, Cao & Li, CVPR 2017), exactly and sparsely.

As the authors' published Python port: the nearest set is the first k1 + 1 of a row, the image itself among them; a
row's distances are raised to `power` and divided by the row's largest over all N; half sets have
round_half_even(k1 / 2) + 1 columns; V's rows sum to 1. Faiss-based ports differ (k1 columns, softmax weights, no row
maximum), and so does the reid-strong-baseline family (float16 sums).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.fuse import Block, check_n_query, ranked
from ensemble.kernels import cpu
from ensemble.neighbours import Neighbours, members_of, product


@dataclass(frozen=True)
class Sparse:
    """Rows of V: row i holds members[indptr[i]:indptr[i + 1]] with those weights."""

    indptr: NDArray[np.int64]
    members: NDArray[np.int32]
    weights: NDArray[np.float32]


def scaled(sim: NDArray, least: NDArray, total: float, power: int) -> NDArray[np.float32]:
    """d^power over the row's largest: sim and least broadcast against each other; a row of zeros stays zero."""
    dist = np.maximum(np.float32(total) - sim, 0, dtype=np.float32)
    largest = np.maximum(np.float32(total) - least, 0, dtype=np.float32)
    ratio = np.divide(dist, largest, out=np.zeros_like(dist), where=largest > 0)
    return ratio if power == 1 else ratio**power


def _check(neighbours: Neighbours, n: int, n_query: int, k1: int, k2: int, lam: float, power: int) -> None:
    check_n_query(n_query, n)
    if len(neighbours.order) != n:
        raise ValueError(f"neighbours are of {len(neighbours.order)} images, features of {n}")
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 is {k1} and k2 is {k2}: want at least 1 each")
    if not 0 <= lam <= 1:
        raise ValueError(f"lam is {lam}: want 0 <= lam <= 1")
    if power not in (1, 2):
        raise ValueError(f"power is {power}: want 1 or 2")
    need, have = min(n, max(k1 + 1, k2)), neighbours.order.shape[1]
    if have < need:
        raise ValueError(f"neighbours hold {have} a row; k1 {k1} and k2 {k2} need {need}: call nearest with k={need}")


def encode(
    neighbours: Neighbours, members: list[NDArray], weights: list[float], k1: int, k2: int, power: int
) -> Sparse:
    """The weighted expanded reciprocal sets, V, after query expansion (steps 3 to 6)."""
    n = len(neighbours.order)
    full = cpu.reciprocal(neighbours.order, min(n, k1 + 1), 0, n)
    half = cpu.reciprocal(neighbours.order, min(n, round(k1 / 2) + 1), 0, n)
    indptr, sets = cpu.expanded(*full, *half, 0, n)
    sim = cpu.known(indptr, sets, neighbours.order, neighbours.sim, 0, n)
    rows = np.repeat(np.arange(n, dtype=np.int32), np.diff(indptr))
    gaps = np.flatnonzero(np.isnan(sim))
    dots = np.zeros(gaps.size)
    for feats, weight in zip(members, weights, strict=True):
        cpu.pair_dots(feats, rows[gaps], sets[gaps], weight, dots)
    sim[gaps] = dots
    value = np.exp(-scaled(sim, neighbours.least[rows], neighbours.total, power))
    value /= np.bincount(rows, value, n)[rows]
    if k2 == 1:
        return Sparse(indptr, sets, value.astype(np.float32))
    return Sparse(*cpu.average(indptr, sets, value.astype(np.float32), neighbours.order, min(n, k2), 0, n))


def blocks(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray],
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream (1 - lam) J + lam s: pairs of (slice of query rows, (b, G) float32)."""
    members, chosen = members_of(feats, weights)
    n = len(members[0])
    _check(neighbours, n, n_query, k1, k2, lam, power)
    v = encode(neighbours, members, chosen, k1, k2, power)
    inverse = cpu.inverted(v.indptr, v.members, v.weights, n_query)
    for start in range(0, n_query, block):
        rows = slice(start, min(n_query, start + block))
        sim = product(members, chosen, rows, slice(n_query, n))
        final = scaled(sim, neighbours.least[rows, None], neighbours.total, power)
        final *= np.float32(lam)
        final += np.float32(1 - lam)
        indptr, gallery, t = cpu.overlap(v.indptr, v.members, v.weights, *inverse, n - n_query, rows.start, rows.stop)
        at = np.repeat(np.arange(rows.stop - rows.start), np.diff(indptr))
        final[at, gallery] -= np.float32(1 - lam) * (t / (2 - t))
        yield rows, final


def k_reciprocal(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray],
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    top_k: int | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Gallery images of each query by (1 - lam) J + lam s, nearest first, ties by lower index.

    Returns order (Q, K) int32 in 0..G-1 and dist (Q, K) float32; top_k None ranks the whole gallery.

    Raises:
        ValueError: settings out of range, neighbours of other images or too short for k1 and k2, bad features.
    """
    settings = {"k1": k1, "k2": k2, "lam": lam, "power": power, "device": device, "n_jobs": n_jobs}
    return ranked(blocks(neighbours, feats, n_query, weights=weights, **settings), top_k)
