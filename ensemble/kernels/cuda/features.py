"""Members' features on a CUDA device: all of them where they fit, else some consecutive images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.device import lies_on_card
from ensemble.kernels import dots
from ensemble.kernels.cuda import card

SHARE_OF_MEMORY = 0.9  # of what is free, for features and all that is done with them
WORK_SHARE = 0.3  # of what is left beside the features, for all but their half-precision copy
COLUMN_BYTES = 1 << 28  # of float64 columns at a time in exact products
LEAST_PART = 256  # images, whatever the memory
STAGED_ROWS_BYTES = 1 << 28  # of rows that are uploaded for their lengths alone


@dataclass(frozen=True)
class Part:
    """Images start..stop on the device: each used member's rows, (B, D_m) float32, and where those lie."""

    start: int
    stop: int
    feats: tuple[Any, ...]
    pointers: Any


@dataclass(frozen=True)
class CardFeatures:
    """Members that weigh something, with their weights and penalties, as the engine on a device reads them.

    members: arrays on the device, or in this machine's memory (`resident` False). labels: of each penalty, on the
    device. part_rows: images of a part.
    """

    members: tuple[Any, ...]
    weights: tuple[float, ...]
    amounts: tuple[float, ...]
    labels: tuple[Any, ...]
    resident: bool
    part_rows: int
    dims: Any
    factors: Any
    label_pointers: Any
    label_amounts: Any
    kept: dict[tuple[int, int], Part] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        return len(self.members[0])

    @property
    def total(self) -> float:
        return float(sum(self.weights))

    @property
    def spans(self) -> list[slice]:
        """The parts that all images fall into."""
        return [slice(a, min(self.n, a + self.part_rows)) for a in range(0, self.n, self.part_rows)]

    def part(self, span: slice) -> Part:
        """These images on the device; of those that are not resident the last two parts stay there."""
        key = span.start, span.stop
        if key not in self.kept:
            while len(self.kept) > 1:
                del self.kept[next(iter(self.kept))]
            feats = self.members if self.resident else tuple(self.rows(span))
            self.kept[key] = Part(span.start, span.stop, feats, _pointers(feats))
        return self.kept[key]

    def tables(self, left: Part, right: Part) -> tuple[Any, ...]:
        """The first arguments of the rescoring kernels."""
        wide = all(a.shape[1] % 4 == 0 and card.address(a) % 16 == 0 for p in (left, right) for a in p.feats)
        penalties = self.label_pointers, self.label_amounts, len(self.amounts)
        return left.pointers, right.pointers, self.dims, self.factors, len(self.weights), wide, *penalties

    def rows(self, ids: NDArray[np.int64] | slice) -> list[Any]:
        """Rows of each member on the device, (B, D_m) float32."""
        where = ids if isinstance(ids, slice) else card.upload(ids)
        return [a[where] if lies_on_card(a) else card.upload(np.ascontiguousarray(a[ids])) for a in self.members]

    def pairs(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Any:
        """Exact similarities of images rows[p] and cols[p] that are brought there for it: (P,) float32."""
        xp, out = card.xp, []
        step = max(1, COLUMN_BYTES // (16 * max(a.shape[1] for a in self.members)))
        for start in range(0, len(rows), step):
            mine, theirs = rows[start : start + step], cols[start : start + step]
            sides = zip(self.rows(mine), self.rows(theirs), self.weights, strict=True)
            sim = sum(w * (a.astype(np.float64) * b).sum(axis=1) for a, b, w in sides)
            i, j = card.upload(mine), card.upload(theirs)
            for label, amount in zip(self.labels, self.amounts, strict=True):
                sim -= amount * ((label[i] == label[j]) & (label[i] >= 0) & (i != j))
            out.append(sim.astype(np.float32))
        return xp.concatenate(out)

    def exact(self, ids: NDArray[np.int64], cols: slice) -> Any:
        """Exact similarities of images to some columns: (B, C) float32 of float64 products."""
        xp = card.xp
        out = xp.zeros((len(ids), cols.stop - cols.start))
        left = [a.astype(np.float64) * w for a, w in zip(self.rows(ids), self.weights, strict=True)]
        step = max(256, COLUMN_BYTES // (8 * max(a.shape[1] for a in self.members)))
        for start in range(cols.start, cols.stop, step):
            span = slice(start, min(cols.stop, start + step))
            to = out[:, span.start - cols.start : span.stop - cols.start]
            for mine, theirs in zip(left, self.rows(span), strict=True):
                to += mine @ theirs.astype(np.float64).T
        where = card.upload(ids)
        for label, amount in zip(self.labels, self.amounts, strict=True):
            theirs, mine = label[cols][None], label[where][:, None]
            other = where[:, None] != xp.arange(cols.start, cols.stop)[None]
            out -= amount * ((mine == theirs) & (theirs >= 0) & other)
        return out.astype(np.float32)


def load(
    members: Sequence[Any],
    weights: Sequence[float],
    penalties: Sequence[tuple[NDArray[np.int64], float]],
    memory: int | None = None,
) -> CardFeatures:
    """Features on the device, checked there.

    Args:
        members: (N, D_m) float32 each, of the host or of the device. weights: one each; those of 0 are left out.
        penalties: (labels (N,), amount) each.
        memory: bytes that may be taken above the features; None is what is free.

    Raises:
        ValueError: rows that are zero, NaN or not of unit length, by member and row.
    """
    used = [(a, float(w)) for a, w in zip(members, weights, strict=True) if w]
    dims = [a.shape[1] for a, _ in used]
    n, free = len(used[0][0]), card.free_memory() * SHARE_OF_MEMORY
    missing = sum(4 * n * a.shape[1] for a, _ in used if not lies_on_card(a))
    halves, above = 2 * n * padded(dims), free - missing if memory is None else min(free - missing, memory)
    resident = not missing or halves <= above * (1 - WORK_SHARE)
    budget = free if memory is None else min(free, memory)
    part_rows = n if resident else max(LEAST_PART, int(budget * (1 - WORK_SHARE) / (2 * 6 * padded(dims))))
    arrays = []
    for number, (array, weight) in enumerate(zip(members, weights, strict=True)):
        mine = card.upload(array) if weight and resident and not lies_on_card(array) else array
        check_unit(mine, number)
        arrays += [mine] if weight else []
    labels = tuple(card.upload(np.ascontiguousarray(label, np.int64)) for label, _ in penalties)
    amounts = tuple(float(amount) for _, amount in penalties)
    return CardFeatures(
        members=tuple(arrays),
        weights=tuple(w for _, w in used),
        amounts=amounts,
        labels=labels,
        resident=resident,
        part_rows=part_rows,
        dims=card.upload(np.array(dims, np.int64)),
        factors=card.upload(np.array([w for _, w in used])),
        label_pointers=_pointers(labels),
        label_amounts=card.upload(np.array(amounts, np.float64)),
    )


def padded(dims: Sequence[int]) -> int:
    """Numbers of a half-precision row: all members' side by side, each a multiple of 8."""
    return sum(8 * -(-d // 8) for d in dims)


def _pointers(arrays: Sequence[Any]) -> Any:
    return card.upload(np.array([card.address(a) for a in arrays], np.uint64))


def check_unit(array: Any, member: int) -> None:
    """Raise ValueError unless every row, here or on the device, is of unit length."""
    parts = [array]
    if not lies_on_card(array):
        rows = max(1, STAGED_ROWS_BYTES // (4 * array.shape[1]))
        parts = [card.upload(np.ascontiguousarray(array[a : a + rows])) for a in range(0, len(array), rows)]
    norm = np.concatenate([card.download(_squares(part)) for part in parts]) ** 0.5
    bad = np.flatnonzero(~(np.abs(norm - 1) <= dots.UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(f"member {member}: {dots.not_unit(bad, norm)}")


def _squares(array: Any) -> Any:
    out = card.xp.empty(len(array))
    card.launch("halve", len(array), array, array.shape[1], 1.0, None, 0, None, out)
    return out
