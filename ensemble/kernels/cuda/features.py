"""Members' features on a CUDA device: all of them if they fit, else consecutive images in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import exact_distances
from ensemble.kernels.cuda import card
from ensemble.kernels.device import lies_on_card

SHARE_OF_MEMORY = 0.9  # of the free memory, for features and temporary arrays
WORK_SHARE = 0.3  # of the memory beside the features, for everything but their half-precision copy
COLUMN_BYTES = 1 << 28  # of float64 columns at a time in exact products
LEAST_PART = 256  # images per part at least
STAGED_BYTES = 1 << 28  # of rows that are uploaded for exact distances
DOUBT_ROOM = 1 << 16  # guess of a block's values whose rounding is in doubt; more cost a second pass


@dataclass(frozen=True)
class FeatureBlock:
    """Images start..stop on the device: each used member's rows, (B, D_m) float32, and their addresses."""

    start: int
    stop: int
    feats: tuple[Any, ...]
    pointers: Any


@dataclass(frozen=True)
class CardFeatures:
    """The members with a weight above 0, their weights and penalties, for a CUDA device.

    Attributes:
        members: arrays on the device, or in host memory (`resident` False).
        squares: (N,) float64 squared row lengths per member, on the device.
        prints: (N,) uint64 row hashes per member, members of weight 0 included, on the host.
        deviation: largest deviation of a length from 1.
        labels: of each penalty.
        part_rows: images per part.
        tables: see `of`.
    """

    members: tuple[Any, ...]
    weights: tuple[float, ...]
    amounts: tuple[float, ...]
    squares: tuple[Any, ...]
    prints: tuple[NDArray[np.uint64], ...]
    deviation: float
    labels: tuple[Any, ...]
    resident: bool
    part_rows: int
    tables: tuple[Any, ...]
    kept: dict[tuple[int, int], FeatureBlock] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        return len(self.members[0])

    @property
    def total(self) -> float:
        return float(sum(self.weights))

    @property
    def widths(self) -> list[int]:
        """D_m of each member."""
        return [a.shape[1] for a in self.members]

    @property
    def spans(self) -> list[slice]:
        """The parts of all images."""
        return [slice(a, min(self.n, a + self.part_rows)) for a in range(0, self.n, self.part_rows)]

    def part(self, span: slice) -> FeatureBlock:
        """These images on the device. If features are not resident, the last two parts stay cached there."""
        key = span.start, span.stop
        if key not in self.kept:
            while len(self.kept) > 1:
                del self.kept[next(iter(self.kept))]
            feats = self.members if self.resident else tuple(self.rows(span))
            self.kept[key] = FeatureBlock(span.start, span.stop, feats, pointers(feats))
        return self.kept[key]

    def of(self, left: FeatureBlock, right: FeatureBlock) -> tuple[Any, ...]:
        """The first arguments of the rescoring kernels."""
        return left.pointers, right.pointers, *self.tables

    def rows(self, ids: NDArray[np.int64] | slice) -> list[Any]:
        """Rows of each member on the device, (B, D_m) float32."""
        where = ids if isinstance(ids, slice) else card.upload(ids)
        return [a[where] if lies_on_card(a) else card.upload(np.ascontiguousarray(a[ids])) for a in self.members]

    def fill(self, rows: Any, columns: Any, count: Any, known: int, at: Any, out: Any) -> None:
        """out[at[p]] = the exact distance of images rows[p] and columns[p], p < count; at None: out[p].

        All arrays are on the device; count is (1,) uint64. `known` is the count on the host.
        """
        if not known:
            return
        if self.resident:
            part = self.part(self.spans[0])
            given = *self.of(part, part), rows, columns, count, len(rows), at, out
            card.launch("rescore_pairs", min(-(-known // 4), card.resident_blocks()), *given)
            return
        found = self._brought(card.download(rows[:known]), card.download(columns[:known]))
        out[at[:known] if at is not None else slice(0, known)] = found

    def _brought(self, rows: NDArray[np.int64], cols: NDArray[np.int64]) -> Any:
        """Exact distances of images rows[p] and cols[p] uploaded for this: (P,) float32."""
        xp, out = card.xp, []
        step = max(1, COLUMN_BYTES // (16 * max(self.widths)))
        for start in range(0, len(rows), step):
            mine, theirs = (np.ascontiguousarray(a[start : start + step], np.int64) for a in (rows, cols))
            count, ids = len(mine), np.arange(len(mine), dtype=np.int32)
            feats = [tuple(self.rows(side)) for side in (mine, theirs)]
            squares = [xp.concatenate([s[card.upload(mine)], s[card.upload(theirs)]]) for s in self.squares]
            sums = xp.empty(count, np.float32)
            left, right = (pointers(side) for side in feats)
            # renumbered images: the left ones first, then the right ones
            labels = [xp.concatenate([a[card.upload(mine)], a[card.upload(theirs)]]) for a in self.labels]
            given = left, right, pointers(squares), *self.tables[1:5], pointers(labels), *self.tables[6:]
            where, held = card.upload(ids[:, None]), card.upload(np.ones(count, np.int32))
            card.launch("rescore", count, *given, 0, 0, 0, count, where, held, 1, sums)
            same = card.upload(mine) == card.upload(theirs)
            out.append(xp.where(same, np.float32(0), sums))
        return xp.concatenate(out)

    def exact(self, ids: NDArray[np.int64], cols: slice) -> Any:
        """Exact distances of images to some columns: (B, C) float32.

        float64 products give most values. The few that might round to another float32 are summed one by one.
        """
        xp, width = card.xp, cols.stop - cols.start
        dist, out = xp.full((len(ids), width), self.total), xp.empty((len(ids), width), np.float32)
        where = card.upload(ids)
        sides = zip(self.rows(ids), self.squares, self.weights, strict=True)
        left = [a.astype(np.float64) * (w / xp.sqrt(squares[where]))[:, None] for a, squares, w in sides]
        step = max(256, COLUMN_BYTES // (8 * max(self.widths)))
        for start in range(cols.start, cols.stop, step):
            span = slice(start, min(cols.stop, start + step))
            to = dist[:, span.start - cols.start : span.stop - cols.start]
            for mine, theirs, squares in zip(left, self.rows(span), self.squares, strict=True):
                to -= mine @ (theirs.astype(np.float64) / xp.sqrt(squares[span])[:, None]).T
        for label, amount in zip(self.labels, self.amounts, strict=True):
            theirs, mine = label[cols][None], label[where][:, None]
            other = where[:, None] != xp.arange(cols.start, cols.stop)[None]
            dist += amount * ((mine == theirs) & (theirs >= 0) & other)
        bound, room = double_bound(self), DOUBT_ROOM
        while True:
            count, at = xp.zeros(1, np.uint64), xp.empty(room, np.int64)
            rows, columns = xp.empty(room, np.int32), xp.empty(room, np.int32)
            given = dist, width, bound, where, cols.start, out, count, room, rows, columns, at
            card.launch("round_rows", len(ids), *given)
            known = int(card.download(count)[0])
            if known <= room:
                break
            room = known
        self.fill(rows, columns, count, known, at, out.reshape(-1))
        return out


def double_bound(feats: CardFeatures) -> float:
    """Bound on the error of float64 products, as in `similarity.MemberFeatures`."""
    operations = sum(feats.widths) + 8 * len(feats.widths) + 4 * len(feats.amounts) + 8
    return 2 * operations * 2.0**-53 * (2 * feats.total + sum(feats.amounts))


def load(
    members: Sequence[Any],
    weights: Sequence[float],
    penalties: Sequence[tuple[NDArray[np.int64], float]],
    memory: int | None = None,
) -> CardFeatures:
    """Load features to the device and check them there.

    Args:
        members: (N, D_m) float32 each, on the host or the device.
        weights: one per member; members of weight 0 are left out.
        penalties: pairs (labels (N,), amount).
        memory: most bytes of temporary arrays, features not counted. None: all free memory.

    Raises:
        ValueError: rows that are zero, NaN or not unit length; the message names member and row.
    """
    used = [(a, float(w)) for a, w in zip(members, weights, strict=True) if w]
    dims = [a.shape[1] for a, _ in used]
    n, free = len(used[0][0]), card.free_memory() * SHARE_OF_MEMORY
    missing = sum(4 * n * a.shape[1] for a, _ in used if not lies_on_card(a))
    halves, above = 2 * n * padded(dims), free - missing if memory is None else min(free - missing, memory)
    resident = not missing or halves <= above * (1 - WORK_SHARE)
    budget = free if memory is None else min(free, memory)
    part_rows = n if resident else max(LEAST_PART, int(budget * (1 - WORK_SHARE) / (2 * 6 * padded(dims))))
    arrays, squares, prints, deviation, wide = [], [], [], 0.0, []
    for number, (array, weight) in enumerate(zip(members, weights, strict=True)):
        mine = card.upload(array) if weight and resident and not lies_on_card(array) else array
        lengths, rows, aligned = measured(mine, number)
        prints.append(rows)
        if weight:
            arrays.append(mine)
            wide.append(aligned)
            squares.append(card.upload(lengths))
            deviation = max(deviation, float(np.abs(np.sqrt(lengths) - 1).max()))
    labels = tuple(card.upload(np.ascontiguousarray(label, np.int64)) for label, _ in penalties)
    amounts = tuple(float(amount) for _, amount in penalties)
    flags = card.upload(np.array(wide, np.int32))
    factors = card.upload(np.array([w for _, w in used]))
    told = pointers(labels), card.upload(np.array(amounts, np.float64)), len(amounts)
    return CardFeatures(
        members=tuple(arrays),
        weights=tuple(w for _, w in used),
        amounts=amounts,
        squares=tuple(squares),
        prints=tuple(prints),
        deviation=deviation,
        labels=labels,
        resident=resident,
        part_rows=part_rows,
        tables=(pointers(squares), card.upload(np.array(dims, np.int64)), flags, factors, len(used), *told),
    )


def padded(dims: Sequence[int]) -> int:
    """Length of a half-precision row: all members concatenated, each padded to a multiple of 8."""
    return sum(8 * -(-d // 8) for d in dims)


def pointers(arrays: Sequence[Any]) -> Any:
    """Device addresses of arrays, (M,) uint64 on the device."""
    return card.upload(np.array([card.address(a) for a in arrays], np.uint64))


def measured(array: Any, member: int) -> tuple[NDArray[np.float64], NDArray[np.uint64], bool]:
    """Squared lengths and hashes of a member's rows, on the host; and whether rows are read four numbers at a time.

    Raises:
        ValueError: a row is not unit length.
    """
    parts = [array]
    if not lies_on_card(array):
        rows = max(1, STAGED_BYTES // (4 * array.shape[1]))
        parts = [card.upload(np.ascontiguousarray(array[a : a + rows])) for a in range(0, len(array), rows)]
    aligned = array.shape[1] % 4 == 0 and all(card.address(part) % 16 == 0 for part in parts)
    found = []
    for part in parts:
        out = card.xp.empty(len(part)), card.xp.empty(len(part), np.uint64)
        card.launch("measure", -(-len(part) // 4), part, part.shape[1], aligned, len(part), *out)
        found.append([card.download(a) for a in out])
    squares, prints = (np.concatenate(column) for column in zip(*found, strict=True))
    norm = np.sqrt(squares)
    bad = np.flatnonzero(~(np.abs(norm - 1) <= exact_distances.UNIT_TOLERANCE))
    if bad.size:
        raise ValueError(f"member {member}: {exact_distances.not_unit(bad, norm)}")
    return squares, prints, aligned
