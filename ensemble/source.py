"""Where similarities come from: the members' features, distance matrices (`ensemble/distances.py`), or a sum of both.

All answer the same questions: a block of (float32) similarities, and the exact ones of chosen pairs. A distance is
`total - similarity`.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.blend import Blend, blend
from ensemble.device import lies_on_card
from ensemble.distances import Distances
from ensemble.kernels import dots
from ensemble.parallel import over_rows

Penalties = Sequence[tuple[ArrayLike, float]]


class Memory(Protocol):
    """Similarities of pairs of images that somebody keeps: `ensemble.pool.Pool`."""

    def recall(
        self,
        rows: NDArray[np.int64],
        indptr: NDArray[np.int64],
        index: NDArray[np.int32],
        weights: Sequence[float],
    ) -> NDArray[np.float64]:
        """Of image rows[i] to each of index[indptr[i]:indptr[i + 1]] under these weights; NaN where it is not kept."""


@dataclass(frozen=True)
class Features:
    """Members' features (N, D_m) with weights; each penalty adds its amount to the distance of images of one label.

    Pickled, a memory map becomes its file's name: workers on other machines open it instead of receiving it.
    """

    members: tuple[NDArray[np.float32], ...]
    weights: tuple[float, ...]
    penalties: tuple[tuple[NDArray[np.int64], float], ...] = ()
    memory: Memory | None = None

    @property
    def n(self) -> int:
        return len(self.members[0])

    @property
    def total(self) -> float:
        return float(sum(self.weights))

    @property
    def symmetric(self) -> bool:
        return True

    @property
    def used(self) -> list[tuple[NDArray[np.float32], float]]:
        """The members that weigh something, with their weights."""
        return [(a, w) for a, w in zip(self.members, self.weights, strict=True) if w]

    def weighted(self, weights: Sequence[float]) -> "Features":
        """The same features under other weights; ValueError for bad ones."""
        return replace(self, weights=checked_weights(weights, len(self.members)))

    def penalise(self, sim: NDArray[np.float32], rows: slice, cols: slice, unit: float = 1.0) -> None:
        """Take the penalties, in units of the block, off sim (B, C)."""
        for labels, amount in self.penalties:
            dots.penalise(sim, rows.start, cols.start, labels, np.float32(amount * unit))

    def left(self, rows: slice) -> list[NDArray[np.float32]]:
        """Each used member's rows times its weight: what several blocks of the same rows share."""
        return [a[rows] if w == 1 else a[rows] * np.float32(w) for a, w in self.used]

    def block(self, rows: slice, cols: slice, left: Sequence[NDArray[np.float32]] | None = None) -> NDArray[np.float32]:
        """Similarities of rows to cols, (B, C) float32, in float32 arithmetic; left: of these rows."""
        pairs = zip(left or self.left(rows), self.used, strict=True)
        parts = (np.matmul(mine, a[cols].T, dtype=np.float32) for mine, (a, _) in pairs)
        out: NDArray[np.float32] = next(parts)
        for part in parts:
            out += part
        self.penalise(out, rows, cols)
        return out

    def pairs(self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray:
        """Similarities of image rows[i] to each of index[indptr[i]:indptr[i + 1]], (nnz,) float32, float64 sums."""
        if self.memory is not None:
            return self._recalled(self.memory, rows, indptr, index)
        out = np.zeros(index.size)
        for feats, weight in self.used:
            dots.add_dots(feats, rows, indptr, index, weight, out)
        for labels, amount in self.penalties:
            left = np.repeat(rows, np.diff(indptr))
            out -= amount * ((labels[left] == labels[index]) & (labels[index] >= 0) & (left != index))
        return out.astype(np.float32)

    def _recalled(
        self, memory: Memory, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32]
    ) -> NDArray:
        """The same, from memory where it has them."""
        out = memory.recall(rows, indptr, index, self.weights)
        gaps = np.flatnonzero(np.isnan(out))
        if gaps.size:
            out[gaps] = replace(self, memory=None).pairs(rows, np.searchsorted(gaps, indptr), index[gaps])
        return out.astype(np.float32)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "members": tuple(_portable(a) for a in self.members)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, members=tuple(_opened(a) for a in state["members"]))


def _portable(array: NDArray) -> NDArray | tuple:
    if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags.c_contiguous:
        return str(array.filename), array.dtype.str, array.offset, array.shape
    return array


def _opened(held: NDArray | tuple) -> NDArray:
    if isinstance(held, tuple):
        path, dtype, offset, shape = held
        return np.memmap(path, dtype, "r", offset, shape)
    return held


Source = Features | Distances | Blend


def source_of(
    feats: NDArray | Sequence[NDArray | Distances] | Source,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    n_jobs: int = -1,
    device: str = "cpu",
) -> Source:
    """What a caller gave, checked: equal N, unit rows, one weight a member, finite, >= 0, not all zero.

    Args:
        feats: one (N, D) array, a sequence of (N, D_m) and of distances, or a source made before, which is returned.
        weights: one a member; None is 1 each.
        penalties: (labels (N,), amount) each: amount is added to the distance of two images of one label.
        device: cuda leaves the rows' lengths to be checked there, where features may lie already.

    Raises:
        ValueError: anything else; rows that are zero, NaN or not of unit length are named.
    """
    if isinstance(feats, Features | Distances | Blend):
        if weights is not None or penalties is not None:
            raise ValueError("weights and penalties belong to features: give them where the source is made")
        return feats
    members: list[Any] = [feats] if hasattr(feats, "ndim") else list(feats)
    if not members:
        raise ValueError("no features: give an (N, D) array or a sequence of (N, D_m) arrays")
    chosen = checked_weights(weights if weights is not None else [1.0] * len(members), len(members))
    matrices = [(a, w) for a, w in zip(members, chosen, strict=True) if isinstance(a, Distances)]
    arrays = [(_float32(a), w) for a, w in zip(members, chosen, strict=True) if not isinstance(a, Distances)]
    there = device == "cuda" and not any(w for _, w in matrices)
    features = _features(arrays, penalties, n_jobs, check=not there) if any(w for _, w in arrays) else None
    if features is None and penalties:
        raise ValueError("penalties are added to members' features, and there are none of weight above 0")
    if features is not None and not any(w for _, w in matrices):
        return features
    return blend(features, [m for m, _ in matrices], [w for _, w in matrices], n_jobs)


def _features(
    given: Sequence[tuple[NDArray, float]], penalties: Penalties | None, n_jobs: int, *, check: bool
) -> Features:
    members = tuple(array for array, _ in given)
    for m, member in enumerate(members):
        if member.ndim != 2 or len(member) != len(members[0]) or not member.size:
            raise ValueError(f"member {m} has shape {member.shape}: want ({len(members[0])}, D), the same N for all")
        if check:
            _check_unit(member, m, n_jobs)
    return Features(members, tuple(w for _, w in given), tuple(_penalty(p, len(members[0])) for p in penalties or ()))


def checked_weights(weights: Sequence[float], members: int) -> tuple[float, ...]:
    """The weights as numbers; ValueError unless one a member, finite, >= 0, one above 0."""
    chosen = tuple(float(w) for w in weights)
    if len(chosen) != members:
        raise ValueError(f"{len(chosen)} weights for {members} members: give one a member")
    if not all(np.isfinite(w) and w >= 0 for w in chosen) or not sum(chosen) > 0:
        raise ValueError(f"weights {chosen}: each must be finite and >= 0, and one at least above 0")
    return chosen


def _float32(array: NDArray) -> NDArray[np.float32]:
    if lies_on_card(array):
        from ensemble.kernels.cuda import card

        return card.adopt(array)
    if array.dtype == np.float32 and array.flags.c_contiguous:
        return array
    return np.ascontiguousarray(array, np.float32)


def _penalty(given: tuple[ArrayLike, float], n: int) -> tuple[NDArray[np.int64], float]:
    labels, amount = np.ascontiguousarray(given[0], np.int64), float(given[1])
    if labels.shape != (n,) or not (np.isfinite(amount) and amount >= 0):
        raise ValueError(f"penalty {amount} with labels of shape {labels.shape}: want ({n},) labels and an amount >= 0")
    return labels, amount


def _check_unit(feats: NDArray[np.float32], member: int, n_jobs: int) -> None:
    norm = np.sqrt(
        np.concatenate(over_rows(lambda rows: dots.squares(feats, rows.start, rows.stop), len(feats), n_jobs))
    )
    bad = np.flatnonzero(~(np.abs(norm - 1) <= dots.UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(f"member {member}: {dots.not_unit(bad, norm)}")
