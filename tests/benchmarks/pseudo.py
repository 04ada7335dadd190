"""Pseudo labels at size: seconds, the most memory above the features, and whether made-up identities are found.

    python -m tests.benchmarks.pseudo --images 100000 --dim 256

A process a method, so that each has a peak of its own. An N x N array of float32 would be 37 GiB at 100,000 images.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console.command import CommandLine, run
from configs.schema import Pseudo
from ensemble.pseudo import score_round
from ensemble.pseudo.labelling import find_groups
from ensemble.rerank.k_reciprocal_encoding import KReciprocal
from ensemble.results.pseudo_settings import READS
from tests.benchmarks.figure import memory

EACH = 10  # images an identity
WHAT = "Time the pseudo labels on made-up features, and hold their groups against the identities."
EXAMPLE = """
  python -m tests.benchmarks.pseudo --images 100000
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m tests.benchmarks.pseudo", WHAT, EXAMPLE)
    parser.add_argument("--images", type=int, default=100_000, metavar="N", help="default: 100000")
    parser.add_argument("--dim", type=int, default=256, metavar="D", help="default: 256")
    parser.add_argument("--groups", type=int, metavar="N", help="of clusters (default: as many as identities)")
    parser.add_argument("--methods", default=",".join(READS), metavar="LIST", help=f"of {', '.join(READS)}")
    parser.add_argument("--alone", action="store_true", help="one method, in this process; prints JSON")
    return parser.parse_args(argv)


def made_up(images: int, dim: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Unit rows (N, D) around a random centre for each identity, and the identities (N,)."""
    rng = np.random.default_rng(0)
    pids = np.arange(images) // EACH
    feats = rng.standard_normal((images // EACH + 1, dim), dtype=np.float32)[pids]
    feats += 0.5 * rng.standard_normal((images, dim), dtype=np.float32)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True), pids


def measure(method: str, images: int, dim: int, groups: int | None) -> dict[str, float]:
    """Seconds, GiB above the features, and the report; the kernels are compiled on a few images before."""
    how = Pseudo(method=method, groups=groups or max(1, images // EACH))
    asked = {"rerank": KReciprocal(), "seed": 0, "device": "cpu"}
    few, _ = made_up(500, dim)
    find_groups(how.model_copy(update={"groups": 50}), [few], [1.0], **asked)
    feats, pids = made_up(images, dim)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak is of what comes
    before, begun = memory("VmRSS"), time.perf_counter()
    labels = find_groups(how, [feats], [1.0], **asked)
    seconds, scored = time.perf_counter() - begun, score_round(labels, pids)
    return {
        "seconds": seconds,
        "gib": (memory("VmHWM") - before) / 2**30,
        "groups": scored.groups,
        "labelled": scored.labelled,
        "purity": scored.purity,
        "precision": scored.precision,
        "recall": scored.recall,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row a method."""
    args = parse(argv)
    if args.alone:
        print(json.dumps(measure(args.methods, args.images, args.dim, args.groups)))
        return
    print("| method | s | GiB above the features | groups | labelled | purity | pair precision | recall |")
    print("|---|---|---|---|---|---|---|---|")
    for method in args.methods.split(","):
        command = [sys.executable, "-m", "tests.benchmarks.pseudo", "--alone", "--methods", method]
        command += ["--images", str(args.images), "--dim", str(args.dim)]
        command += ["--groups", str(args.groups)] if args.groups else []
        got = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        rates = " | ".join(f"{got[k]:.3f}" for k in ("purity", "precision", "recall"))
        counts = f"{got['groups']:,} | {got['labelled']:,}"
        print(f"| {method} | {got['seconds']:.1f} | {got['gib']:.2f} | {counts} | {rates} |", flush=True)


if __name__ == "__main__":
    run(main)
