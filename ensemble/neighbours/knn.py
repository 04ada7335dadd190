"""Nearest neighbours of every image among all images, by the members' summed cosine distance.

`d(i, j) = sum_m w_m (1 - <a_m(i), a_m(j)> / (|a_m(i)| |a_m(j)|)) = W - s(i, j)`.
`s` is one inner product of the concatenated features, each scaled by sqrt(w_m).
Neither an N x N array nor a concatenated copy of the features is made.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.store.atomic_files import save_array
from ensemble.kernels.device import choose
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import here, spans, tasks, workers
from ensemble.neighbours.block_search import (
    BlockPrecision,
    Flats,
    Lists,
    Omit,
    SearchTask,
    Sides,
    TopKBuffers,
    choose_block_precision,
    exact_lists,
    run_search_task,
)
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.search_cost import block_size_that_fits, check_card_memory, default_superblock
from ensemble.neighbours.similarity import MemberFeatures, Penalties, SimilaritySource, as_source, read_on_card
from ensemble.neighbours.union_search import nearest_of_union

NEAR_SHARE = 0.0625
OTHER_FEATURES = (
    "the neighbours were found with other features, weights or penalties: pass the same ones to both calls, or search "
    "again"
)
SPARE = 4  # gallery images beyond a query's top_k; their distances prove that a re-ranked list is complete
FLAT = 1e-9  # a row's largest distance over W; below it, float32 features are too coarse to separate images
LISTS = ("order", "dist", "intra_order", "intra_dist", "inter_order", "inter_dist")  # of Neighbours, (N, k)
log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of each of N images. An image is its own neighbour. Nearest first, ties by lower index.

    Attributes:
        order: (N, k) int32 image indices.
        dist: (N, k) float32 summed distances.
        farthest: (N,) float32, each row's largest distance over all N columns.
        total: W, the sum of the weights.
        near_order: (Q, K) each query's nearest gallery images, 0..G-1; None unless top_k was given. K is top_k + SPARE.
        near_dist: (Q, K) their distances.
        made_of: fingerprint of the features, weights and penalties.
        held: device copy of a CUDA search (`on_card.CardNeighbours`), for the re-ranking.
        intra_order, intra_dist, inter_order, inter_dist: (N, k) the k nearest of the image's own group, itself among
            them, and the k nearest of others, as order and dist; None unless groups were given. Short lists end in -1
            and inf.
    """

    order: NDArray[np.int32]
    dist: NDArray[np.float32]
    farthest: NDArray[np.float32]
    total: float
    near_order: NDArray[np.int32] | None = None
    near_dist: NDArray[np.float32] | None = None
    made_of: str = ""
    held: Any = field(default=None, repr=False, compare=False)
    intra_order: NDArray[np.int32] | None = None
    intra_dist: NDArray[np.float32] | None = None
    inter_order: NDArray[np.int32] | None = None
    inter_dist: NDArray[np.float32] | None = None

    @property
    def sim(self) -> NDArray[np.float32]:
        """(N, k) summed cosine similarity, W - dist."""
        return np.float32(self.total) - self.dist

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": None}

    def shortened(self, k: int) -> "Neighbours":
        """The lists cut to k, the same as a search for k finds.

        Raises:
            ValueError: k is below 1, or above the length of the lists.
        """
        if not 1 <= k <= self.order.shape[1]:
            raise ValueError(f"k is {k}: want 1 to {self.order.shape[1]}, the length of these lists")
        cut = {name: value[:, :k] for name, value in vars(self).items() if name in LISTS and value is not None}
        return replace(self, held=None, **cut)


def nearest(
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    k: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    groups: ArrayLike | None = None,
    n_query: int | None = None,
    top_k: int | None = None,
    left_out: LeftOut | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    precision: str = "auto",
    superblock: int | None = None,
    memory: int | None = None,
    near_share: float = NEAR_SHARE,
    progress: Progress | None = None,
) -> Neighbours:
    """Find the k nearest of every image, the image itself included. Exact for every precision.

    Args:
        feats: one (N, D) array or a sequence of (N, D_m). Unit rows, queries first. Memory maps are read by blocks.
        k: list length, at least 1. A k above N means N.
        weights: one per member, >= 0. None: 1 each.
        penalties: pairs (labels (N,), amount). The amount is added to the distance of two different images with the
            same label >= 0, such as the same camera or domain.
        groups: labels (N,), such as cameras. Also find the k nearest of each image's own group and the k nearest of
            the others, in the same pass. Below 0 is unknown: in a group of its own. Searched on the CPU.
        n_query, top_k: also find each query's top_k nearest gallery images, and SPARE more, in the same pass.
        left_out: what the queries' lists leave out: the lists are so much longer. If queries are gallery images, the
            neighbours are those of the U images of `left_out.union`, each once.
        device: auto, cpu or cuda. Distance matrices are read on the CPU. Features on a CUDA device (CuPy, torch,
            anything with `__dlpack__`) are used there without a copy.
        n_jobs: workers; -1: one per core. Inside `joblib.parallel_config`, that backend is used.
        precision: of the products that choose candidates: auto, float32, float16 or bfloat16.
        superblock: rows and columns per task. None: chosen from N and the number of workers.
        memory: most bytes of temporary arrays, features not counted. Block sizes are chosen to fit.
        near_share: no gallery lists for a top_k above this share of the gallery; sorting full rows costs less.
        progress: called with the number of finished tasks and of all tasks.

    Raises:
        ValueError: rows that are zero, NaN or not unit length (the message names them), unequal N, bad weights, k < 1.
        DoesNotFit: `memory` is too small.
    """
    from ensemble.neighbours.group_search import GroupSearch, group_labels, host_for_groups  # which imports this file

    if k < 1:
        raise ValueError(f"k is {k}: want at least 1")
    if (n_query is None) != (top_k is None):
        raise ValueError("n_query and top_k belong together: give both, or neither")
    chosen = choose(device, feats) if groups is None else host_for_groups(device, feats)
    source = as_source(feats, weights, penalties, n_jobs, chosen)
    if n_query is not None and top_k is not None:
        check_lists(n_query, source.n, top_k)
        top_k += left_out.most if left_out else 0
        if top_k > near_share * (source.n - n_query):
            n_query = top_k = None
    if left_out is not None and left_out.overlaps:
        given: dict[str, Any] = {"device": chosen, "n_jobs": n_jobs, "precision": precision}
        given |= {} if groups is None else {"groups": np.asarray(groups)[left_out.union(source.n).rows]}
        sizes = {"superblock": superblock, "memory": memory, "progress": progress}
        return nearest_of_union(source, k, left_out, top_k, **given, **sizes)
    if read_on_card(source, chosen):
        from ensemble.neighbours import on_card

        dims = [a.shape[1] for a in source.members]
        check_card_memory(source.n, n_query or 0, dims, min(k, source.n), top_k or 0, memory)
        return _told(on_card.search(source, min(k, source.n), n_query, top_k and top_k + SPARE, memory, progress))
    wide = top_k and top_k + SPARE
    how = min(k, source.n), n_query, wide, choose_block_precision(source, precision, n_jobs), n_jobs
    search = Search(source, *how) if groups is None else GroupSearch(source, group_labels(groups, source.n), *how)
    if superblock is None:
        dims = [a.shape[1] for a in source.members] if isinstance(source, MemberFeatures) else []
        kept = how[0], search.top_k, workers(n_jobs)
        superblock, _ = block_size_that_fits(source.n, n_query or 0, dims, *kept, memory, groups is not None)
    return _told(search.run(superblock, progress))


def _told(found: Neighbours) -> Neighbours:
    """Warn if all distances are so small that they are mostly rounding errors."""
    if np.median(found.farthest) < FLAT * max(found.total, 1e-9) and found.total:
        log.warning(
            "the features of all images are nearly equal: the largest distances are about %.1g, too small for float32 "
            "features. Check whether a member collapsed in training",
            float(np.median(found.farthest)),
        )
    return found


def nearest_gallery(
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    n_query: int,
    top_k: int,
    *,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    precision: str = "auto",
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find each query's top_k nearest gallery images, and nothing else.

    Arguments and errors as in `nearest`.

    Returns:
        order (Q, K) int32 in 0..G-1, dist (Q, K) float32.
    """
    chosen = choose(device, feats)
    source = as_source(feats, weights, None, n_jobs, chosen)
    check_lists(n_query, source.n, top_k)
    if read_on_card(source, chosen):
        from ensemble.neighbours import on_card

        return on_card.gallery(source, n_query, top_k)
    search = Search(source, 1, n_query, top_k, choose_block_precision(source, precision, n_jobs), n_jobs)
    return search.gallery_only(default_superblock(source.n, workers(n_jobs)))


def check_lists(n_query: int, n: int, top_k: int | None) -> None:
    """Raise ValueError unless 0 < n_query < n and top_k is None or at least 1."""
    if not isinstance(n_query, Integral) or not 0 < n_query < n:
        raise ValueError(f"n_query is {n_query} of {n} images: want at least one query and one gallery image")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: want at least 1, or None for the whole gallery")


class Search:
    """Candidate buffers, the tasks that fill them, and the exact lists."""

    def __init__(
        self,
        source: SimilaritySource,
        k: int,
        n_query: int | None,
        top_k: int | None,
        chosen: BlockPrecision,
        n_jobs: int,
        k_low: int = 1,
        omit: Omit | None = None,
    ) -> None:
        """omit: pairs that the tasks leave out, as in `exact_lists`."""
        self.source = source
        self.k = k
        self.filter = chosen
        self.n_jobs = n_jobs
        self.omit = omit
        self.n_query = n_query or 0
        self.k_near = min(max(k, top_k or 0), source.n - self.n_query)
        self.top_k = min(top_k or 0, self.k_near)
        self.own = TopKBuffers(source.n, k, k_low)
        self.near = TopKBuffers(self.n_query, self.k_near, k_low)

    def _pool(self, rows: slice, cols: slice) -> TopKBuffers:
        """The buffer for candidates of `rows` among `cols`."""
        return self.near if rows.start < self.n_query <= cols.start else self.own

    def task(self, rows: slice, cols: slice) -> SearchTask:
        """The comparison of two blocks of images, with the thresholds so far."""
        mine, theirs = self._pool(rows, cols), self._pool(cols, rows)
        return SearchTask(rows, cols, mine.k, theirs.k, mine.bars(rows), theirs.bars(cols), mine.k_low)

    def merge(self, pair: SearchTask, mine: Flats, theirs: Flats | None) -> None:
        """Add the candidates that a task found."""
        slack = np.float32(self.filter.slack)
        self._pool(pair.rows, pair.cols).merge(pair.rows.start, mine, slack)
        if theirs is not None:
            self._pool(pair.cols, pair.rows).merge(pair.cols.start, theirs, slack)

    def _fill(self, blocks: Sides, progress: Progress | None) -> None:
        pairs = ((here(), self.source, self.filter, self.task(rows, cols)) for rows, cols in blocks)
        for done, found in enumerate(tasks(run_search_task, pairs, self.n_jobs), 1):
            self.merge(*found)
            if progress:
                progress(done, len(blocks))

    @property
    def own_sides(self) -> Sides:
        """(rows, columns) that `own` covers: queries with queries, gallery images with all images."""
        q, n = self.n_query, self.source.n
        return [(slice(0, q), slice(0, q)), (slice(q, n), slice(0, n))]

    @property
    def near_sides(self) -> Sides:
        """(rows, columns) that `near` covers: queries with gallery images."""
        return [(slice(0, self.n_query), slice(self.n_query, self.source.n))]

    @property
    def kinds(self) -> list["Search"]:
        """The searches of each kind of neighbours: there is one kind."""
        return [self]

    @property
    def sides(self) -> list[tuple[TopKBuffers, Sides]]:
        """The buffers, and what they cover."""
        return [(self.own, self.own_sides), (self.near, self.near_sides)]

    def _near_lists(self) -> Lists:
        return exact_lists(self.source, self.near, self.filter.slack, self.n_jobs, self.near_sides, self.omit)

    def gallery_only(self, superblock: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Search the gallery for the queries only."""
        queries = spans(self.n_query, superblock)
        self._fill([(r, c) for r in queries for c in spans(self.source.n, superblock, self.n_query)], None)
        order, dist, _ = self._near_lists()
        return order[:, : self.top_k] - np.int32(self.n_query), dist[:, : self.top_k]

    def all_blocks(self, superblock: int) -> Sides:
        """(rows, columns) of the tasks that compare all pairs of images."""
        n = self.source.n
        parts = spans(self.n_query, superblock) + spans(n, superblock, self.n_query)
        symmetric = self.source.symmetric
        blocks = [(r, c) for i, r in enumerate(parts) for c in (parts[i:] if symmetric else parts)]
        blocks.sort(key=lambda pair: pair[0] != pair[1])  # diagonal blocks first: they raise every row's threshold
        return blocks

    def all_pairs(self, superblock: int, progress: Progress | None) -> None:
        """Fill both buffers: `near` with the queries' candidates in the gallery, `own` with all others."""
        self._fill(self.all_blocks(superblock), progress)

    def run(self, superblock: int, progress: Progress | None) -> Neighbours:
        """Search all pairs and return the lists."""
        self.all_pairs(superblock, progress)
        return self.lists()

    def lists(self) -> Neighbours:
        """The exact lists, from full buffers."""
        slack = self.filter.slack
        total = self.source.total
        made_of = self.source.fingerprint
        order, dist, farthest = exact_lists(self.source, self.own, slack, self.n_jobs, self.own_sides, self.omit)
        if not self.n_query:
            return Neighbours(order, dist, farthest, total, made_of=made_of)
        near_order, near_dist, near_farthest = self._near_lists()
        q = slice(0, self.n_query)
        order[q], dist[q] = _united(order[q], dist[q], near_order, near_dist, self.k)
        farthest[q] = np.maximum(farthest[q], near_farthest)
        near_order = near_order[:, : self.top_k] - np.int32(self.n_query)
        return Neighbours(order, dist, farthest, total, near_order, near_dist[:, : self.top_k].copy(), made_of)


def _united(
    order: NDArray[np.int32],
    dist: NDArray[np.float32],
    other: NDArray[np.int32],
    other_dist: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Merge two lists per row into the k nearest, nearest first. Short lists end in -1.

    All indices of the first list are lower than those of the second.
    """
    both, value = np.hstack([order, other]), np.hstack([dist, other_dist])
    keep = np.argsort(value, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(both, keep, 1), np.take_along_axis(value, keep, 1)


def save_neighbours(folder: Path, found: Neighbours) -> None:
    """Write one `.npy` file per field; fields that are None are left out."""
    for name, value in vars(found).items():
        if value is not None and name != "held":
            save_array(folder / f"{name}.npy", np.asarray(value))


def load_neighbours(folder: Path) -> Neighbours:
    """Read the lists as memory maps."""
    said = {"total": float, "made_of": str}
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy")) if path.stem not in said}
    return Neighbours(**arrays, **{name: kind(np.load(folder / f"{name}.npy")) for name, kind in said.items()})
