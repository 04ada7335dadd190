"""Nearest neighbours within an image's group and outside of it, both from one pass over all pairs.

A group is a camera, a modality or any label. A label below 0 is unknown: such an image shares its group with no other.
Each block of similarities is computed once and taken apart. Nothing is sorted by group, and no row is copied.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels import groups as kernels
from ensemble.kernels import topk
from ensemble.kernels.device import choose
from ensemble.kernels.parallel import here, over_rows, settle_in, tasks
from ensemble.neighbours.block_search import (
    STEP,
    BlockPrecision,
    Flats,
    Omit,
    SearchTask,
    similarity_blocks,
    task_buffers,
    task_candidates,
    task_sides,
)
from ensemble.neighbours.knn import Neighbours, Progress, Search
from ensemble.neighbours.similarity import SimilaritySource

Labels = NDArray[np.int32]
Found = tuple[SearchTask, Flats, Flats | None]
log = logging.getLogger(__name__)


def group_labels(groups: ArrayLike, n: int) -> Labels:
    """Labels from 0 without gaps, -1 for unknown.

    Raises:
        ValueError: not N whole numbers.
    """
    given = np.asarray(groups)
    if given.shape != (n,) or given.dtype.kind not in "iu":
        raise ValueError(
            f"groups of shape {given.shape}, {given.dtype}: want ({n},) whole numbers, below 0 for unknown"
        )
    _, codes = np.unique(given, return_inverse=True)
    return np.where(given < 0, -1, codes).astype(np.int32)


def host_for_groups(device: str, feats: Any) -> str:
    """cpu, after a warning where `device` means a CUDA device. Errors as of `choose`."""
    if choose(device, feats) == "cuda":
        log.warning("neighbours by group are searched and re-ranked on the CPU; there is no CUDA code for them")
    return choose("cpu", feats)


def run_group_task(
    home: tuple[str, int], source: SimilaritySource, chosen: BlockPrecision, labels: Labels, pairs: Sequence[SearchTask]
) -> list[Found]:
    """`block_search.run_search_task` for both kinds of neighbours. pairs: the task of the own group, that of others."""
    settle_in(home)
    slack, pair = np.float32(chosen.slack), pairs[0]
    buffers = [task_buffers(one) for one in pairs]
    kinds = np.empty((len(pairs), STEP, STEP), np.float32)
    for r, c, sim in similarity_blocks(source, chosen, pair):
        height, width = r.stop - r.start, c.stop - c.start
        kernels.taken_apart(sim, height, width, r.start, c.start, labels[r], labels[c], *kinds)
        for part, (mine, theirs) in zip(kinds, buffers, strict=True):
            sides = task_sides(source, pair, mine, theirs, r, c)
            topk.scan(part, height, width, r.start, c.start, *sides, slack)
    return [(one, *task_candidates(source, *two, slack)) for one, two in zip(pairs, buffers, strict=True)]


class GroupSearch:
    """One `Search` for the own group and one for the others, filled by the same tasks."""

    def __init__(
        self,
        source: SimilaritySource,
        labels: Labels,
        k: int,
        n_query: int | None,
        top_k: int | None,
        chosen: BlockPrecision,
        n_jobs: int,
        k_low: int = 1,
    ) -> None:
        self.labels = labels
        self.kinds = [
            Search(source, k, n_query, top_k, chosen, n_jobs, k_low, _all_but(labels, same)) for same in (True, False)
        ]

    @property
    def top_k(self) -> int:
        """See `Search`."""
        return self.kinds[0].top_k

    def all_pairs(self, superblock: int, progress: Progress | None) -> None:
        """`Search.all_pairs` for both."""
        first = self.kinds[0]
        blocks = first.all_blocks(superblock)

        def arguments() -> Iterator[tuple]:
            for rows, cols in blocks:
                yield here(), first.source, first.filter, self.labels, [kind.task(rows, cols) for kind in self.kinds]

        for done, found in enumerate(tasks(run_group_task, arguments(), first.n_jobs), 1):
            for kind, one in zip(self.kinds, found, strict=True):
                kind.merge(*one)
            if progress:
                progress(done, len(blocks))

    def run(self, superblock: int, progress: Progress | None) -> Neighbours:
        """Search all pairs and return the lists. The nearest of all are the nearest of both kinds, merged."""
        self.all_pairs(superblock, progress)
        return joined(self.kinds[0].lists(), self.kinds[1].lists(), self.kinds[0].n_jobs)


def joined(intra: Neighbours, inter: Neighbours, n_jobs: int) -> Neighbours:
    """The neighbours of both kinds as one result."""
    order, dist = _merged(intra.order, intra.dist, inter.order, inter.dist, n_jobs)
    near_order = near_dist = None
    if intra.near_order is not None and inter.near_order is not None:
        near_order, near_dist = _merged(intra.near_order, intra.near_dist, inter.near_order, inter.near_dist, n_jobs)
    return Neighbours(
        order,
        dist,
        np.maximum(intra.farthest, inter.farthest),
        intra.total,
        near_order,
        near_dist,
        intra.made_of,
        intra_order=intra.order,
        intra_dist=intra.dist,
        inter_order=inter.order,
        inter_dist=inter.dist,
    )


def _all_but(labels: Labels, same: bool) -> Omit:
    """The pairs that are not of this kind."""

    def omit(rows: slice, cols: slice) -> NDArray[np.bool_]:
        alike = kernels.pairs_of(labels, rows.start, rows.stop, cols.start, cols.stop)
        return ~alike if same else alike

    return omit


def _merged(
    order: NDArray[np.int32], dist: Any, other: NDArray[np.int32], other_dist: Any, n_jobs: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest of two lists (N, k) a row, ties by lower index."""
    k = order.shape[1]

    def work(rows: slice) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        both, value = np.hstack([order[rows], other[rows]]), np.hstack([dist[rows], other_dist[rows]])
        keep = np.lexsort((both, value), axis=1)[:, :k]
        return np.take_along_axis(both, keep, 1), np.take_along_axis(value, keep, 1)

    parts = over_rows(work, len(order), n_jobs)
    return np.concatenate([o for o, _ in parts]), np.concatenate([d for _, d in parts])
