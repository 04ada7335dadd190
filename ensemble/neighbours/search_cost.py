"""Estimate the cost of a search before it starts: bytes, seconds, and block sizes that fit the memory.

Bytes are counted from the arrays that the search allocates.
Seconds: the rate of the products is measured on this machine. The rates of the other steps are constants, measured on
two cores with D = 2048. Expect between half and twice the estimate.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensemble.kernels import amx, topk
from ensemble.kernels.device import choose
from ensemble.kernels.parallel import one_thread_products, workers
from ensemble.neighbours.block_search import STEP, BlockPrecision, FloatBlocks, HalfBlocks
from ensemble.neighbours.similarity import MemberFeatures

SMALLEST_BLOCK = 256
SCAN_SECONDS = 2e-9  # per pair of images, one worker
GROUP_SECONDS = 2e-9  # more where neighbours are found by group
GATHER_BYTES = 10e9  # per second, features read by rescoring, one worker
SETS_SECONDS = 1.5e-5  # per image in the sparse steps, one worker
CARD_BYTES = 2e12  # per second, similarities and features that a CUDA device reads or writes
CARD_SETS_SECONDS = 2e-7  # per image in the sparse steps on a CUDA device


class DoesNotFit(ValueError):
    """The memory limit is below what a search needs at least."""


@dataclass(frozen=True)
class SearchCost:
    """The estimated cost of a search.

    On a CUDA device `workers` is 0 and bytes mean device memory.

    Attributes:
        n_query: Q.
        n_gallery: G.
        dims: sum of the members' D.
        feature_bytes: of the float32 features.
        work_bytes: peak of everything else.
        seconds: run time.
        workers: CPU workers.
        superblock: rows per task.
    """

    n_query: int
    n_gallery: int
    dims: int
    feature_bytes: int
    work_bytes: int
    seconds: float
    workers: int
    superblock: int

    def __str__(self) -> str:
        features, above = self.feature_bytes / 2**30, self.work_bytes / 2**30
        if not self.workers:
            return (
                f"{self.n_query:,} queries x {self.n_gallery:,} gallery images, D {self.dims:,}: about "
                f"{self.seconds:.2g} s on a CUDA device; {features:.2f} GiB of features and {above:.2f} GiB more"
            )
        return (
            f"{self.n_query:,} queries x {self.n_gallery:,} gallery images, D {self.dims:,}: about "
            f"{self.seconds:.1f} s by {self.workers} workers; {features:.2f} GiB of features and {above:.2f} GiB more, "
            f"in blocks of {self.superblock:,}"
        )


def default_superblock(n: int, count: int) -> int:
    """Rows per task: small enough for several tasks per worker, large enough to be worth packing the features."""
    return int(min(4096, max(SMALLEST_BLOCK, -(-n // (2 * count + 1)))))


def work_bytes(
    n: int, n_query: int, dims: Sequence[int], k: int, top_k: int, count: int, superblock: int, grouped: bool = False
) -> int:
    """Peak temporary bytes of a search of N images and its re-ranking, features not counted."""

    def pool(rows: int, wanted: int) -> int:
        return rows * (8 * (topk.capacity(wanted) + topk.LEAST_CAPACITY) + 16)

    longest = max(k, top_k)
    packed = 2 * sum(32 * -(-d // 32) for d in dims)
    kinds = 2 if grouped else 1
    task = kinds * 2 * pool(superblock, longest) + packed * (superblock + 2 * STEP) + (2 * kinds - 1) * 4 * STEP * STEP
    lists = (2 * kinds - 1) * 8 * (2 * n * k + 2 * n_query * longest)
    sparse = n * 8 * 4 * 6 * k
    return kinds * (pool(n, k) + (pool(n_query, longest) if top_k else 0)) + count * task + lists + sparse


def block_size_that_fits(
    n: int,
    n_query: int,
    dims: Sequence[int],
    k: int,
    top_k: int,
    count: int,
    memory: int | None,
    grouped: bool = False,
) -> tuple[int, int]:
    """Rows per task, halved until the search fits `memory` bytes, and the bytes it then takes.

    Raises:
        DoesNotFit: the smallest blocks need more. The message says how much, and what would need less.
    """
    superblock = default_superblock(n, count)
    need = work_bytes(n, n_query, dims, k, top_k, count, superblock, grouped)
    while memory is not None and need > memory and superblock > SMALLEST_BLOCK:
        superblock = max(SMALLEST_BLOCK, superblock // 2)
        need = work_bytes(n, n_query, dims, k, top_k, count, superblock, grouped)
    if memory is not None and need > memory:
        raise DoesNotFit(
            f"{n:,} images with lists of {k} and {top_k} need {need / 2**30:.2f} GiB beside the features; "
            f"allowed are {memory / 2**30:.2f} GiB. Allow more, use fewer than {count} workers, or shorter lists"
        )
    return superblock, need


def estimate_search_cost(
    n_query: int,
    n_gallery: int,
    dims: Sequence[int],
    *,
    k: int = 21,
    top_k: int = 0,
    memory: int | None = None,
    n_jobs: int = -1,
    device: str = "cpu",
    grouped: bool = False,
) -> SearchCost:
    """Estimate the cost of a search and re-ranking.

    Args:
        n_query: Q.
        n_gallery: G.
        dims: D of each member; empty for distance matrices.
        k: neighbours per image.
        top_k: gallery images per query; 0: none.
        memory: most bytes of temporary arrays, features not counted. Blocks are made small enough.
        n_jobs: workers; -1: one per core.
        device: auto, cpu or cuda. Distance matrices are read on the CPU.
        grouped: whether neighbours are found by group, which is on the CPU.

    Raises:
        DoesNotFit: no block size fits `memory`.
        ValueError: the device does not exist.
    """
    if not grouped and choose(device) == "cuda" and any(dims):
        return _on_card(n_query, n_gallery, list(dims), k, top_k, memory)
    n = n_query + n_gallery
    count = workers(n_jobs)
    total = sum(dims)
    superblock, need = block_size_that_fits(n, n_query, dims, k, top_k, count, memory, grouped)
    per_pair = (2 * total / product_rate(total) if total else 0.0) + SCAN_SECONDS  # 0: distance matrices alone
    per_pair += GROUP_SECONDS * grouped
    gathered = 1.5 * (n * k + n_query * top_k) * 4 * total * (2 if grouped else 1)
    seconds = (n * n / 2 * per_pair + gathered / GATHER_BYTES + n * SETS_SECONDS) / count
    return SearchCost(n_query, n_gallery, total, 4 * n * total, need, seconds, count, superblock)


def _on_card(n_query: int, n_gallery: int, dims: list[int], k: int, top_k: int, memory: int | None) -> SearchCost:
    from ensemble.neighbours import on_card

    n, total = n_query + n_gallery, sum(dims)
    check_card_memory(n, n_query, dims, k, top_k, memory)
    need = on_card.work_bytes(n, n_query, dims, k, top_k)
    need = need if memory is None else min(need, memory)
    products = 2 * total * n * n / on_card.product_rate(total) + 8 * n * n / CARD_BYTES
    gathered = 1.5 * (2 * n * k + n_query * top_k) * 4 * total / CARD_BYTES
    return SearchCost(n_query, n_gallery, total, 4 * n * total, need, products + gathered + n * CARD_SETS_SECONDS, 0, 0)


def check_card_memory(n: int, n_query: int, dims: Sequence[int], k: int, top_k: int, memory: int | None) -> None:
    """Raise DoesNotFit if `memory` is less than a search on a CUDA device needs at least."""
    from ensemble.neighbours import on_card

    least = on_card.least_bytes(n, n_query, list(dims), k, top_k)
    if memory is not None and least > memory:
        raise DoesNotFit(
            f"{n:,} images with lists of {k} and {top_k} need {least / 2**30:.2f} GiB beside the features on a CUDA "
            f"device; allowed are {memory / 2**30:.2f} GiB. Allow more, or use shorter lists"
        )


def product_rate(dims: int) -> float:
    """FLOP per second of one worker's block products, measured on one block with D = dims."""
    feats = np.full((2 * STEP, dims), dims**-0.5, np.float32)
    source, kind = MemberFeatures((feats,), (1.0,)), (amx.formats() or (0,))[0]
    whole, some = slice(0, 2 * STEP), [slice(0, STEP), slice(STEP, 2 * STEP)]
    chosen = BlockPrecision(kind, 1.0, 0.0)
    blocks = HalfBlocks(source, chosen, whole) if kind else FloatBlocks(source, chosen)
    best = np.inf
    with one_thread_products():
        for _ in range(3):
            start = time.perf_counter()
            for _ in blocks.of(some[0], some):
                pass
            best = min(best, time.perf_counter() - start)
    return 2 * STEP * 2 * STEP * dims / best
