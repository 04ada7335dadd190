"""The pass over all pairs of images: fast products select each row's candidates, exact distances rank them.

S is symmetric, so a block above the diagonal serves its rows and its columns.
Blocks are multiplied in half precision if the CPU has matrix units for it, else in float32.
A proved bound on their error decides which pairs are measured exactly, so the result is always exact.
A row with more candidates than its buffer holds is computed again as a full exact row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import amx, exact_distances, half_precision, ranked_lists, topk
from ensemble.kernels.error_bounds import UNIT_ROUNDOFF, product_bound
from ensemble.kernels.parallel import one_thread_products, over_rows, settle_in, spans
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.similarity import FeaturesAndDistances, MemberFeatures, SimilaritySource

STEP = 512
FORMATS = {"float32": 0, "float16": amx.FLOAT16, "bfloat16": amx.BFLOAT16}
Lists = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]
Bars = tuple[NDArray[np.float32], NDArray[np.float32]]
Flats = tuple[topk.Flat, topk.Flat]
Sides = list[tuple[slice, slice]]
Omit = Callable[[slice, slice], NDArray[np.bool_]]


@dataclass(frozen=True)
class BlockPrecision:
    """How blocks are multiplied. Blocks and slack are in units of scale^2.

    Attributes:
        kind: 0 for float32, else the AMX format.
        scale: factor of the features.
        slack: twice the bound on a block's error.
    """

    kind: int
    scale: float
    slack: float


def choose_block_precision(source: SimilaritySource, precision: str, n_jobs: int) -> BlockPrecision:
    """The block precision for `precision` (auto, float32, float16, bfloat16), with an error bound from the features.

    Let x' be row x as rounded in a tile. The bound adds up:

    - |<x, y> - <x', y'>| <= |x - x'| |y| + |x'| |y - y'| (Cauchy-Schwarz);
    - n float32 operations, in any order: at most n 2^-24 |x'| |y'| to first order (Higham 2002, section 3.1);
    - rows of length 1 +- a: their product is off the cosine by at most 2a + a^2;
    - the rounding of an exact distance to float32.
    """
    if precision != "auto" and precision not in FORMATS:
        raise ValueError(f"unknown precision {precision!r}; there are: auto, {', '.join(FORMATS)}")
    if isinstance(source, FeaturesAndDistances):
        inner = choose_block_precision(source.features, "float32", n_jobs).slack if source.features else 0.0
        return BlockPrecision(0, 1.0, inner + 2.01 * source.rounding)
    if isinstance(source, DistanceMatrices):
        return BlockPrecision(0, 1.0, 0.0)
    here_possible = amx.formats()
    kind = (here_possible or (0,))[0] if precision == "auto" else FORMATS[precision]
    if kind and kind not in here_possible:
        raise ValueError(f"this CPU cannot multiply {precision}: use precision 'auto' or 'float32'")
    error = np.zeros(source.n)
    scale = 2.0 ** np.floor(np.log2(1024 / np.sqrt(source.total))) if kind == amx.FLOAT16 else 1.0
    for feats, weight in source.used:
        if kind:
            error += np.concatenate(
                over_rows(_surveyor(feats, np.float32(scale * weight**0.5), kind), source.n, n_jobs)
            )
    bound = product_bound(source, float(np.sqrt(error.max()) / scale), UNIT_ROUNDOFF, source.deviation)
    return BlockPrecision(kind, float(scale), float(2.01 * bound * scale**2))


def _surveyor(feats: NDArray, scale: np.float32, kind: int) -> Callable[[slice], NDArray]:
    return lambda rows: half_precision.survey(feats, rows.start, rows.stop, scale, kind)


class HalfBlocks:
    """Products of rows with the columns `cols` in half precision."""

    def __init__(self, source: MemberFeatures, chosen: BlockPrecision, cols: slice) -> None:
        self.source = source
        self.filter = chosen
        self.cols = cols
        groups = 2 * -(-(cols.stop - cols.start) // 32)
        self.right = np.empty((groups, sum(self._steps()), 512), np.uint16)
        for part in spans(cols.stop, STEP, cols.start):
            start = (part.start - cols.start) // 16
            left = self._packed(part)
            half_precision.turn(left, self.right[start : start + len(left)])
        self.config = np.zeros(64, np.uint8)
        self.config[0] = 1
        self.config[16:32:2] = 64
        self.config[48:56] = 16

    def _steps(self) -> list[int]:
        """Tiles per row, for each member."""
        return [-(-a.shape[1] // 32) for a, _ in self.source.used]

    def _packed(self, rows: slice) -> NDArray[np.uint16]:
        """Left tiles of some rows, the members concatenated, padded with zeros."""
        steps = self._steps()
        out = np.zeros((2 * -(-(rows.stop - rows.start) // 32), sum(steps), 512), np.uint16)
        at = 0
        for (feats, weight), count in zip(self.source.used, steps, strict=True):
            scale = np.float32(self.filter.scale * weight**0.5)
            half_precision.pack_left(feats, rows.start, rows.stop, scale, self.filter.kind, at, out)
            at += count
        return out

    def of(self, rows: slice, parts: list[slice]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield each part of the columns with its (B, C) similarities. The array may be larger: ignore the padding."""
        left = self._packed(rows)
        for part in parts:
            start = (part.start - self.cols.start) // 16
            right = self.right[start : start + 2 * -(-(part.stop - part.start) // 32)]
            sim = np.empty((16 * len(left), 16 * len(right)), np.float32)
            half_precision.multiply(left, right, self.config, self.filter.kind, sim)
            view = sim[: rows.stop - rows.start, : part.stop - part.start]
            self.source.penalise(view, rows, part, self.filter.scale**2)
            yield part, sim


class FloatBlocks:
    """Products in float32, scaled as the precision says, or values of distance matrices."""

    def __init__(self, source: SimilaritySource, chosen: BlockPrecision) -> None:
        self.source, self.unit = source, np.float32(chosen.scale**2)

    def of(self, rows: slice, parts: list[slice]) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield each part of the columns with its (B, C) similarities."""
        shared = [self.source.left(rows)] if isinstance(self.source, MemberFeatures) else []
        for part in parts:
            sim = self.source.block(rows, part, *shared)
            yield part, sim if self.unit == 1 else np.multiply(sim, self.unit, out=sim)


@dataclass(frozen=True)
class SearchTask:
    """One task: compare images `rows` with images `cols`.

    Attributes:
        k_rows: candidates per row to find among the columns.
        k_cols: candidates per column to find among the rows.
        row_bars: thresholds of the rows so far.
        col_bars: thresholds of the columns so far.
        k_low: least similar images to find per row.
    """

    rows: slice
    cols: slice
    k_rows: int
    k_cols: int
    row_bars: Bars
    col_bars: Bars
    k_low: int = 1


class TopKBuffers:
    """Candidates of some images: the k most similar and the k_low least similar images."""

    def __init__(self, rows: int, k: int, k_low: int = 1) -> None:
        self.k = k
        self.k_low = k_low
        self.rows = rows
        self.top = topk.empty_buffer(rows, topk.capacity(k))
        self.low = topk.empty_buffer(rows, topk.LEAST_CAPACITY if k_low == 1 else topk.capacity(k_low))

    def bars(self, rows: slice) -> Bars:
        """Copies of the thresholds of some rows, to start other buffers with."""
        return self.top.bar[rows].copy(), self.low.bar[rows].copy()

    def raised(self, bars: Bars) -> "TopKBuffers":
        """Set the thresholds and return these buffers."""
        self.top.bar[:], self.low.bar[:] = bars
        return self

    def side(self, first: int, wanted: bool = True) -> topk.Side:
        """These buffers as the kernels take them."""
        return topk.Side(self.top, self.low, self.k if wanted else 0, first, self.k_low)

    def flattened(self, slack: np.float32, rows: slice | None = None) -> Flats:
        """Most similar and least similar candidates of the rows (default: all), reduced to what may still count."""
        top, low = topk.rows_of(self.top, rows), topk.rows_of(self.low, rows)
        return topk.flattened(top, self.k, slack), topk.flattened(low, self.k_low, slack)

    def merge(self, first: int, flats: Flats, slack: np.float32) -> None:
        """Add the candidates of rows first.. that a task found."""
        topk.merge(self.top, first, flats[0], self.k, slack)
        topk.merge(self.low, first, flats[1], self.k_low, slack)


def run_search_task(
    home: tuple[str, int], source: SimilaritySource, chosen: BlockPrecision, pair: SearchTask
) -> tuple[SearchTask, Flats, Flats | None]:
    """Find the candidates of the rows among the columns and, for symmetric similarities, of the columns among rows."""
    settle_in(home)
    slack = np.float32(chosen.slack)
    mine, theirs = task_buffers(pair)
    for r, c, sim in similarity_blocks(source, chosen, pair):
        height, width, sides = r.stop - r.start, c.stop - c.start, task_sides(source, pair, mine, theirs, r, c)
        topk.seed(sim, height, width, *sides, slack)
        topk.scan(sim, height, width, r.start, c.start, *sides, slack)
    return pair, *task_candidates(source, mine, theirs, slack)


def task_buffers(pair: SearchTask) -> tuple[TopKBuffers, TopKBuffers]:
    """Buffers of a task's rows and columns. On the diagonal they are the same."""
    rows, cols = pair.rows, pair.cols
    mine = TopKBuffers(rows.stop - rows.start, pair.k_rows, pair.k_low).raised(pair.row_bars)
    if rows == cols:
        return mine, mine
    return mine, TopKBuffers(cols.stop - cols.start, pair.k_cols, pair.k_low).raised(pair.col_bars)


def task_sides(
    source: SimilaritySource, pair: SearchTask, mine: TopKBuffers, theirs: TopKBuffers, r: slice, c: slice
) -> tuple[topk.Side, topk.Side]:
    """The buffers for one block of a task."""
    return mine.side(r.start - pair.rows.start), theirs.side(c.start - pair.cols.start, source.symmetric and c != r)


def task_candidates(
    source: SimilaritySource, mine: TopKBuffers, theirs: TopKBuffers, slack: np.float32
) -> tuple[Flats, Flats | None]:
    """What a task found: of its rows and, for symmetric similarities, of its columns."""
    return mine.flattened(slack), theirs.flattened(slack) if source.symmetric and theirs is not mine else None


def similarity_blocks(
    source: SimilaritySource, chosen: BlockPrecision, pair: SearchTask
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Yield a task's blocks: rows, columns, (B, C) similarities. The array may be larger: ignore the padding.

    For symmetric similarities, blocks below the diagonal are left out.
    """
    rows, cols = pair.rows, pair.cols
    # Another machine's CPU may lack this format. float32 has smaller errors, so the bound still holds.
    if isinstance(source, MemberFeatures) and chosen.kind in amx.formats():
        blocks: HalfBlocks | FloatBlocks = HalfBlocks(source, chosen, cols)
    else:
        blocks = FloatBlocks(source, chosen)
    above = rows == cols and source.symmetric
    for r in spans(rows.stop, STEP, rows.start):
        parts = [c for c in spans(cols.stop, STEP, cols.start) if not (above and c.start < r.start)]
        for c, sim in blocks.of(r, parts):
            yield r, c, sim


def exact_lists(
    source: SimilaritySource, pools: TopKBuffers, slack: float, n_jobs: int, sides: Sides, omit: Omit | None = None
) -> Lists:
    """Exact lists of images 0..R-1 from their candidates.

    Args:
        pools: the candidates.
        sides: (rows, columns) that the buffers cover.
        omit: function of rows and columns: (B, C), the pairs that were left out. None: no pair.

    Returns:
        order (R, k), -1 for missing entries; dist (R, k); farthest (R,).
    """
    k, rows = pools.k, pools.rows
    order, dist = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32)
    farthest, again = np.empty(rows, np.float32), np.zeros(rows, bool)

    def work(part: slice) -> None:
        (held, _, _, top), (low_held, _, _, low) = pools.flattened(np.float32(slack), part)
        again[part] = (held < 0) | (low_held < 0)
        ids = np.arange(part.start, part.stop)
        tops = _pointers(held)
        lows = _pointers(low_held)
        order[part], dist[part] = exact_distances.best(tops, top, source.pairs(ids, tops, top), k)
        farthest[part] = exact_distances.greatest(lows, source.pairs(ids, lows, low))

    over_rows(work, rows, n_jobs)
    for run, cols in runs(np.flatnonzero(again), sides):
        order[run], dist[run], farthest[run] = exact_lists_from_rows(source, run, k, cols, n_jobs, omit)
    return order, dist, farthest


def exact_lists_from_rows(
    source: SimilaritySource, rows: slice, k: int, cols: slice, n_jobs: int, omit: Omit | None = None
) -> Lists:
    """Exact lists from full rows, for rows whose candidates did not fit the buffer. Arguments as in `exact_lists`."""
    order = np.full((rows.stop - rows.start, k), -1, np.int32)
    dist, farthest = np.full(order.shape, np.inf, np.float32), np.empty(len(order), np.float32)
    whole, most = exact_rows(source, rows, cols, n_jobs), min(k, cols.stop - cols.start)
    if omit is not None:
        whole[omit(rows, cols)] = np.inf

    def work(part: slice) -> None:
        found, dist[part, :most] = ranked_lists.smallest(whole[part], most)
        order[part, :most] = np.where(np.isinf(dist[part, :most]), -1, found + np.int32(cols.start))
        farthest[part] = whole[part].max(axis=1, initial=-np.inf, where=whole[part] < np.inf)

    over_rows(work, len(order), n_jobs)
    return order, dist, farthest


def exact_rows(source: SimilaritySource, rows: slice, cols: slice, n_jobs: int) -> NDArray[np.float32]:
    """Exact distances of rows to cols, (B, C) float32, columns split over threads.

    float64 products give most values. The few that might round to another float32 are summed one by one.
    """
    out = np.empty((rows.stop - rows.start, cols.stop - cols.start), np.float32)
    ids = np.arange(rows.start, rows.stop)

    def work(part: slice) -> None:
        dist, indptr, index = exact_distances.rounded(source.double(rows, part), source.double_bound)
        if index.size:
            exact = source.pairs(ids, indptr, index + np.int32(part.start))
            dist[np.repeat(np.arange(len(ids)), np.diff(indptr)), index] = exact
        out[:, part.start - cols.start : part.stop - cols.start] = dist

    with one_thread_products():
        over_rows(work, cols.stop, n_jobs, start=cols.start, most=1024)
    return out


def _pointers(held: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.maximum(held, 0))]).astype(np.int64)


def runs(rows: NDArray[np.int64], sides: Sides, most: int = 256) -> Sides:
    """Group consecutive rows into slices of at most `most` within one side, each with that side's columns."""
    out = []
    for side, cols in sides:
        mine = rows[(rows >= side.start) & (rows < side.stop)]
        breaks = np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1)
        out += [(p, cols) for run in breaks if run.size for p in spans(int(run[-1]) + 1, most, int(run[0]))]
    return out
