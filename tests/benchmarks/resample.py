"""What resampling does to a real list of labels: images and identities before, doubled, and seen in an epoch.

python -m tests.benchmarks.resample label.txt
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console.command import CommandLine, run
from configs.recipe import Resample
from models.data.balance import Training, balance
from models.data.doctor.label_list import read_label_list
from models.data.pk_sampler import pk_batches

FROM = (2, 3, 5, 10, 20, 100)  # images an identity: where each line of the table begins
WHAT = "Resample a list of labels, and print who is doubled and how often each identity is seen in an epoch."
EXAMPLE = """
  python -m tests.benchmarks.resample naic20/label.txt
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m tests.benchmarks.resample", WHAT, EXAMPLE)
    parser.add_argument("list", type=Path, metavar="FILE", help="lines name.png:id or folder/name.png id")
    parser.add_argument("--p", type=float, default=0.5, metavar="P", help="probability of doubling (default: 0.5)")
    parser.add_argument("--fewer-than", type=int, default=100, metavar="N", help="images, to be able (default: 100)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--identities", type=int, default=16, metavar="P", help="a batch (default: 16)")
    parser.add_argument("--images", type=int, default=4, metavar="K", help="of each (default: 4)")
    return parser.parse_args(argv)


def epoch_of(training: Training, args: argparse.Namespace) -> tuple[int, NDArray[np.int64]]:
    """Batches of the first epoch, and (classes,) how many images of each class they hold."""
    batches = pk_batches(
        training.labels, args.identities, args.images, seed=args.seed, epoch=0, doubled=training.doubled
    )
    return len(batches), np.bincount(training.labels[batches.ravel()], minlength=len(training.pids))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the totals and a table by images an identity."""
    args = parse(argv)
    listed = read_label_list(args.list)[0].train
    plain = balance(listed, 2)
    training = balance(listed, 2, Resample(p=args.p, fewer_than=args.fewer_than), args.seed)
    counts = np.bincount(training.labels)
    twice = np.isin(np.arange(len(counts)), training.doubled)
    after = counts * (1 + twice)
    (few, before), (many, seen) = epoch_of(plain, args), epoch_of(training, args)
    able = (counts > 1) & (counts < args.fewer_than)
    print(f"{len(listed):,} images of {len(np.unique(listed.pids)):,} identities; with 2 or more: ", end="")
    print(f"{counts.sum():,} of {len(counts):,}, {able.sum():,} of them with fewer than {args.fewer_than}")
    print(
        f"doubled {twice.sum():,} identities, {twice.sum() / able.sum():.3f} of those: {after.sum():,} images, ", end=""
    )
    print(f"{after.sum() / counts.sum():.2f} times; batches an epoch {few:,} -> {many:,}\n")
    print("| images of an identity | identities | doubled | images | after | seen of each in an epoch | after |")
    print("|---|---|---|---|---|---|---|")
    for low, high in zip(FROM, (*FROM[1:], np.inf), strict=True):
        rows = (counts >= low) & (counts < high)
        if rows.any():
            name = f"{low}" if high == low + 1 else f"{low} and more" if high == np.inf else f"{low} to {high - 1}"
            sums = f"{rows.sum():,} | {twice[rows].sum():,} | {counts[rows].sum():,} | {after[rows].sum():,}"
            print(f"| {name} | {sums} | {before[rows].mean():.1f} | {seen[rows].mean():.1f} |")


if __name__ == "__main__":
    run(main)
