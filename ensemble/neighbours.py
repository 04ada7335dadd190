"""Nearest neighbours of every image among all images, by the members' summed cosine similarity.

`d(i, j) = sum_m w_m (1 - <a_m(i), a_m(j)>) = W - s(i, j)`, and `s` is one inner product of the scaled, concatenated
features: no N x N array and no concatenated copy is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import cpu

UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Neighbours:
    """Each image's nearest among all N, itself included, most similar first, ties by lower index.

    order (N, k) int32; sim (N, k) float32, the summed similarity; least (N,) float32, the row's smallest similarity
    over all N columns; total W, the sum of the weights: the distance is W - sim.
    """

    order: NDArray[np.int32]
    sim: NDArray[np.float32]
    least: NDArray[np.float32]
    total: float


def members_of(
    feats: NDArray | Sequence[NDArray], weights: Sequence[float] | None
) -> tuple[list[NDArray[np.float32]], list[float]]:
    """The members' arrays and weights, checked: equal N, unit rows, weights finite, >= 0 and not all zero."""
    members = [feats] if isinstance(feats, np.ndarray) else list(feats)
    if not members:
        raise ValueError("no features: give an (N, D) array or a sequence of (N, D_m) arrays")
    chosen = [1.0] * len(members) if weights is None else [float(w) for w in weights]
    if len(chosen) != len(members):
        raise ValueError(f"{len(chosen)} weights for {len(members)} members: give one a member")
    if not all(np.isfinite(w) and w >= 0 for w in chosen) or not sum(chosen) > 0:
        raise ValueError(f"weights {chosen}: each must be finite and >= 0, and one at least above 0")
    for m, member in enumerate(members):
        if member.ndim != 2 or len(member) != len(members[0]):
            raise ValueError(f"member {m} has shape {member.shape}: want ({len(members[0])}, D), the same N for all")
        _check_unit(member, m)
    return [np.asarray(a, np.float32) for a in members], chosen


def _check_unit(feats: NDArray, member: int, step: int = 4096) -> None:
    for start in range(0, len(feats), step):
        part = np.asarray(feats[start : start + step], np.float32)
        norm = np.sqrt(np.einsum("nd,nd->n", part, part))
        bad = np.flatnonzero(~(np.abs(norm - 1) <= UNIT_TOLERANCE)) + start
        if bad.size:
            shown = ", ".join(f"{i} (norm {norm[i - start]:.3g})" for i in bad[:5])
            raise ValueError(f"member {member}: rows that are not of unit length: {shown}; L2-normalise the features")


def product(members: Sequence[NDArray], weights: Sequence[float], rows: slice, cols: slice) -> NDArray[np.float32]:
    """Summed similarity of some rows to some columns, (B, C) float32."""
    parts = ((a[rows] * np.float32(w)) @ a[cols].T for a, w in zip(members, weights, strict=True) if w)
    out: NDArray[np.float32] = next(parts)
    for part in parts:
        out += part
    return out


def nearest(
    feats: NDArray | Sequence[NDArray],
    k: int,
    *,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Neighbours:
    """The k nearest of every image, itself among them.

    Args:
        feats: one (N, D) array or a sequence of (N, D_m), unit rows, queries first; memory maps are read by blocks.
        k: list length, at least 1; over N it is N.
        weights: one a member, >= 0; None is 1 each.
        device: auto, cpu or cuda.
        n_jobs: workers, -1 for one a core.
        block: rows a block.

    Raises:
        ValueError: rows that are zero, NaN or not of unit length (named), unequal N, bad weights, k < 1.
    """
    members, chosen = members_of(feats, weights)
    n = len(members[0])
    if k < 1:
        raise ValueError(f"k is {k}: want at least 1")
    k = min(k, n)
    order = np.empty((n, k), np.int32)
    sim = np.empty((n, k), np.float32)
    least = np.empty(n, np.float32)
    for start in range(0, n, block):
        rows = slice(start, min(n, start + block))
        order[rows], sim[rows], least[rows] = cpu.top_rows(product(members, chosen, rows, slice(0, n)), 0, k)
    return Neighbours(order, sim, least, sum(chosen))
