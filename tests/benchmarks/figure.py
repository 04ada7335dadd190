"""One figure in a process of its own: its times, the product's beside them, and the most memory it took.

`python -m tests.benchmarks.figure NAME QUERYxGALLERY FEATURES.npy REPEATS SHARE DEVICE` prints JSON. Times alternate
with those of the product X Y^T, so that a busy machine slows both.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble import metrics, neighbours, rerank
from ensemble.neighbours import distance_blocks
from tests.benchmarks import published

Run = Callable[[], object]
K = 200


def product(feats: list[NDArray], share: float) -> Run:
    """X Y^T of distinct buffers, N x N by blocks into one buffer; of `share` of the rows only."""
    wide = np.hstack(feats) if len(feats) > 1 else feats[0]
    other, n = wide.copy(), len(wide)
    rows = max(1, int(n * share))
    out = np.empty((min(2048, rows), n), np.float32)

    def run() -> None:
        for start in range(0, rows, len(out)):
            part = wide[start : min(rows, start + len(out))]
            np.matmul(part, other.T, out=out[: len(part)])

    return run


def lists(feats: list[NDArray], n_query: int, device: str) -> Run:
    """Features to re-ranked first-K lists."""

    def run() -> object:
        near = neighbours.nearest(feats, 21, n_query=n_query, top_k=K, device=device)
        return rerank.k_reciprocal(near, feats, n_query, top_k=K, device=device)

    return run


def plain(feats: list[NDArray], n_query: int, device: str) -> Run:
    """Features to first-K lists without re-ranking."""
    return lambda: distance_blocks.rank(feats, n_query, top_k=K, device=device)


def search_float32(feats: list[NDArray], n_query: int, device: str) -> Run:
    """As `lists`, candidates from float32 products: a CPU without half-precision units."""

    def run() -> object:
        near = neighbours.nearest(feats, 21, n_query=n_query, top_k=K, precision="float32")
        return rerank.k_reciprocal(near, feats, n_query, top_k=K)

    return run


def sweep(feats: list[NDArray], n_query: int, device: str) -> Run:
    """Another (k1, k2, lam) from neighbours that are there."""
    near = neighbours.nearest(feats, 31, n_query=n_query, top_k=K, device=device)
    return lambda: rerank.k_reciprocal(near, feats, n_query, k1=25, k2=5, lam=0.4, top_k=K)


def score(feats: list[NDArray], n_query: int, device: str) -> Run:
    """Features to the score of whole re-ranked lists, streamed."""
    pids, cams = drawn_labels(len(feats[0]))

    def run() -> object:
        near = neighbours.nearest(feats, 21, device=device)
        stream = rerank.blocks(near, feats, n_query)
        return metrics.evaluate_blocks(stream, pids[:n_query], pids[n_query:], cams[:n_query], cams[n_query:])

    return run


def count(feats: list[NDArray], n_query: int, device: str) -> Run:
    """CMC and mAP alone, from distances in memory."""
    pids, cams = drawn_labels(len(feats[0]))
    dist = np.concatenate([d for _, d in distance_blocks.blocks(feats, n_query)])
    labels = pids[:n_query], pids[n_query:], cams[:n_query], cams[n_query:]
    return lambda: metrics.evaluate_blocks([(slice(0, n_query), dist)], *labels)


def count_lists(feats: list[NDArray], n_query: int, device: str) -> Run:
    """CMC and mAP alone, from first-K lists."""
    pids, _ = drawn_labels(len(feats[0]))
    order, _ = distance_blocks.rank(feats, n_query, top_k=K)
    return lambda: metrics.evaluate(order, pids[:n_query], pids[n_query:], ap="hits")


def dense_port(feats: list[NDArray], n_query: int, device: str) -> Run:
    """The published algorithm and the distances it wants."""
    return lambda: published.rerank(*published.distances(feats[0], n_query))


def drawn_labels(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The identities of `tests.benchmarks.retrieval.features`, and six cameras."""
    return np.arange(n) % max(1, n // 25), np.random.default_rng(1).integers(0, 6, n)


FIGURES = {f.__name__: f for f in (lists, plain, search_float32, sweep, score, count, count_lists, dense_port)}


def memory(field: str) -> int:
    """A field of this process's status in bytes: VmRSS now, VmHWM at most since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {field} in /proc/self/status")


def timed(run: Run) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(name: str, size: str, paths: str, repeats: int, share: float, device: str) -> dict[str, float]:
    """Medians of `repeats` runs, after one small one that loads the kernels."""
    n_query = int(size.split("x")[0])
    feats = [np.load(path) for path in paths.split(",")]
    small = [np.ascontiguousarray(a[:600]) for a in feats]
    FIGURES[name](small, 200, device)()
    run = FIGURES[name](feats, n_query, device)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    first = timed(run)
    above = memory("VmHWM") - before
    rival = product(feats, share)
    times, products = [first], []
    for _ in range(repeats):
        products.append(timed(rival) / share)
        times.append(timed(run))
    seconds = statistics.median(times)
    beside = statistics.median(products)
    return {"seconds": seconds, "product": beside, "ratio": seconds / beside, "above_gib": above / 2**30}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5]), sys.argv[6])))
