"""CA-Jaccard's time beside that of k-reciprocal re-ranking, in turn in one process, as a markdown table.

`python -m tests.benchmarks.ca_jaccard [--size 3368x15913 ...] [--dim 2048] [--repeats 3]`

From features to re-ranked top-200 lists, six cameras. `setting` is another lam from neighbours that are kept. Ratios
are of medians; processor time counts both cores, and a busy machine changes it less. Memory is above the features.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble import neighbours, rerank
from tests.benchmarks.figure import K, drawn_labels, memory
from tests.benchmarks.retrieval import features

Run = Callable[[], object]


def runs_of(feats: NDArray[np.float32], n_query: int) -> dict[str, tuple[Run, Run]]:
    """Name -> k-reciprocal, CA-Jaccard."""
    _, cams = drawn_labels(len(feats))
    kept = {"n_query": n_query, "top_k": K, "device": "cpu"}
    given = {"top_k": K, "device": "cpu"}

    def by_k_reciprocal() -> object:
        return rerank.k_reciprocal(neighbours.nearest(feats, 21, **kept), feats, n_query, **given)

    def by_ca_jaccard() -> object:
        return rerank.CAJaccard().lists(neighbours.nearest(feats, 21, groups=cams, **kept), feats, n_query, **given)

    near = neighbours.nearest(feats, 21, groups=cams, **kept)  # which has the lists of both
    return {
        "features to lists": (by_k_reciprocal, by_ca_jaccard),
        "setting": (
            lambda: rerank.k_reciprocal(near, feats, n_query, lam=0.4, **given),
            lambda: rerank.CAJaccard(lam=0.4).lists(near, feats, n_query, **given),
        ),
    }


def measured(run: Run) -> tuple[float, float, float]:
    """Seconds, processor seconds, GiB above what was there."""
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start, begun = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - begun, (memory("VmHWM") - before) / 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="*", default=["3368x15913"], help="QUERYxGALLERY")
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print(
        "| size | what | re-ranker | seconds | processor seconds | ratio, by seconds and by processor seconds | GiB |"
    )
    print("|---|---|---|---|---|---|---|")
    for run in (run for pair in runs_of(features(600, 64, 0), 200).values() for run in pair):
        run()  # loads the kernels
    for size in chosen.size:
        n_query, n_gallery = map(int, size.split("x"))
        feats = features(n_query + n_gallery, chosen.dim, 0)
        for what, pair in runs_of(feats, n_query).items():
            seen = [[measured(run) for run in pair] for _ in range(chosen.repeats)]
            medians = [[statistics.median(one[i][part] for one in seen) for part in range(3)] for i in range(2)]
            for name, own in zip(("k_reciprocal", "ca_jaccard"), medians, strict=True):
                by = " and ".join(f"{mine / theirs:.2f}" for mine, theirs in zip(own[:2], medians[0][:2], strict=True))
                print(f"| {size} | {what} | {name} | {own[0]:.2f} | {own[1]:.2f} | {by} | {own[2]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
