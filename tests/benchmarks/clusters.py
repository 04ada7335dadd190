"""Clusters at size: seconds and the most memory above the features, on made-up features, as a markdown table.

    python -m tests.benchmarks.clusters [--images 100000] [--dim 256] [--thresholds 0.3,0.5,0.7]

All images are searched among all and re-ranked (20, 6, 0.3), lists of 200; then each method at each threshold, in the
same process. A threshold that is much too large joins most images: that is where average linkage needs most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from configs.console.command import CommandLine, run
from ensemble.clusters.evaluation_graph import search_all
from ensemble.clusters.pair_graph import graph_of_lists
from ensemble.clusters.registry import METHODS, method_of
from ensemble.fusion.strategy import FusionSettings
from ensemble.metrics.cluster_metrics import cluster_figures
from tests.benchmarks.figure import memory
from tests.benchmarks.retrieval import features

EACH = 10
WHAT = "Time the clustering methods on made-up features, and measure their memory above the features."
EXAMPLE = """
  python -m tests.benchmarks.clusters --images 100000
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m tests.benchmarks.clusters", WHAT, EXAMPLE)
    parser.add_argument("--images", type=int, default=100_000, metavar="N", help="default: 100000")
    parser.add_argument("--dim", type=int, default=256, metavar="D", help="default: 256")
    parser.add_argument("--spread", type=float, default=1.2, help="of an identity's features (default: 1.2)")
    parser.add_argument("--thresholds", default="0.3,0.5,0.7", metavar="LIST", help="default: 0.3,0.5,0.7")
    return parser.parse_args(argv)


def measured(work: Callable[[], object], floor: int) -> tuple[object, float, float]:
    """What it returns, seconds, and the most GiB above `floor` while it ran."""
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begun, (memory("VmHWM") - floor) / 2**30


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print a row a part."""
    args = parse(argv)
    mix, nobody = FusionSettings((1.0,)), np.full(args.images, -1)
    search_all(mix, [features(500, args.dim, 0)], 50, "cpu", nobody[:500], nobody[:500])  # loads the kernels
    feats, people = features(args.images, args.dim, 0, args.spread, EACH), max(1, args.images // EACH)
    pids, floor = np.arange(args.images) % people, memory("VmRSS")
    print("| part | seconds | GiB above the features | clusters | ARI |\n|---|---|---|---|---|", flush=True)
    lists, seconds, most = measured(lambda: search_all(mix, [feats], 200, "cpu", nobody, nobody), floor)
    print(f"| search and re-ranking | {seconds:.0f} | {most:.2f} | | |", flush=True)
    graph, seconds, most = measured(partial(graph_of_lists, *lists), floor)  # type: ignore[misc]
    del lists
    print(f"| graph of {graph.dist.size:,} pairs | {seconds:.0f} | {most:.2f} | | |", flush=True)  # type: ignore[attr-defined]
    for name in METHODS:
        for text in args.thresholds.split(","):
            method = method_of(name, {"threshold": float(text)})
            labels, seconds, most = measured(lambda method=method: method.labels(graph), floor)  # type: ignore[misc]
            ari = cluster_figures(labels, pids)["ari"]  # type: ignore[arg-type]
            count = int(labels.max()) + 1  # type: ignore[attr-defined]
            print(f"| {name}, {text} | {seconds:.0f} | {most:.2f} | {count:,} | {ari:.3f} |", flush=True)


if __name__ == "__main__":
    run(main)
