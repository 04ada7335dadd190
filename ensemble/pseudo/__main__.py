"""Pseudo-label images with the last build's ensemble: `python -m ensemble.pseudo`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console.command import CommandLine, at_least, run
from configs.console.store_options import add_build, add_device, add_runs
from configs.errors import ConfigError
from configs.load import checked
from configs.schema import DISTANCES, BuildConfig, Pseudo
from configs.store.store import Store, write_text
from ensemble.features.feature_bank import feature_arrays, open_banks
from ensemble.kernels.device import check_device
from ensemble.pseudo import METHODS, describe_round, score_round
from ensemble.pseudo.labelling import find_groups
from ensemble.pseudo.report import as_csv, as_json, read_csv
from ensemble.rerank.k_reciprocal_encoding import KReciprocal
from ensemble.results.build_record import Record, open_build
from models.data.layouts import read_layout, settle_layout
from models.data.sheets.group_sheet import group_sheet

SHEET_HEIGHT = 96  # pixels of a picture

WHAT = (
    "Cluster the test images of the last build without their identities. If the identities are known, the clusters "
    "are scored. The labels come from test images, which some competitions forbid."
)
EXAMPLE = """
  python -m ensemble.build
  python -m ensemble.pseudo --method dbscan --out labels.csv --sheet groups.png
  python -m ensemble.build --rounds 2
  python -m ensemble.pseudo --round 2 --sheet groups.png
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.pseudo", WHAT, EXAMPLE)
    parser.add_argument("--method", choices=tuple(METHODS), default="loop_search", help="default: loop_search")
    parser.add_argument(
        "--threshold",
        type=lambda text: None if text == "none" else float(text),
        default=0.5,
        metavar="D",
        help="largest distance for loop_search and first_neighbours, or none (default: 0.5)",
    )
    parser.add_argument(
        "--distance",
        choices=DISTANCES,
        default="cosine",
        help="distance for the same two; re-ranked uses the build's settings (default: cosine)",
    )
    parser.add_argument("--groups", type=at_least(1), default=1000, metavar="N", help="for clusters (default: 1000)")
    parser.add_argument("--eps", type=float, default=0.6, metavar="D", help="for dbscan (default: 0.6)")
    parser.add_argument("--least", type=at_least(1), default=4, metavar="N", help="min_samples of dbscan (default: 4)")
    parser.add_argument("--k1", type=at_least(1), default=30, metavar="N", help="neighbours of dbscan (default: 30)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="for clusters (default: 0)")
    parser.add_argument("--test", default="test", metavar="NAME", help="test, or holdout if the build has one")
    add_runs(parser)
    add_build(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="a CSV file to write: name, label (-1 for none)")
    parser.add_argument(
        "--round", type=at_least(1), metavar="N", help="show the labels that this round of the build trained with"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="a PNG file to write: one group per row")
    add_device(parser)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Grouped:
    """N images by name, their labels, their identities (-1 unknown), and a description of the method."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    pids: NDArray[np.int64]
    how: str


def group_test(args: argparse.Namespace, store: Store, record: Record) -> Grouped:
    """Cluster the images of one evaluation by the build's features."""
    if args.test not in record.evaluations:
        raise ConfigError(f"--test {args.test}: this build has {', '.join(record.evaluations)}")
    evaluation, settings = record.evaluations[args.test], BuildConfig.model_validate(record.plan).ensemble
    banks = open_banks(store, evaluation.banks)
    weights = [settings.weights.get(bank.member, 1.0) for bank in banks]
    asked = {name: getattr(args, name) for name in ("method", "distance", "threshold", "groups", "eps", "least", "k1")}
    how = checked(Pseudo, asked, "pseudo labels")
    feats = feature_arrays(banks, "pseudo labels")
    rerank = KReciprocal(**settings.k_reciprocal)
    labels = find_groups(how, feats, weights, rerank=rerank, seed=args.seed, device=args.device)
    sides = ("query", "gallery") if args.test == "test" else ("train", "train")  # holdout: from the training list
    lists = zip(sides, (banks[0].query_names, banks[0].gallery_names), strict=True)
    names = tuple(f"{side}/{name}" for side, of_side in lists for name in of_side)
    pids = np.array([*evaluation.query_pids, *evaluation.gallery_pids] or [-1] * len(names))
    return Grouped(names, labels, pids, f"{args.method}, {'+'.join(bank.member for bank in banks)}")


def open_round(number: int, store: Store, record: Record) -> Grouped:
    """The labels that one round of the build trained with."""
    for done in record.rounds:
        if done["round"] == number:
            names, labels = read_csv((store.open(done["labels"]) / "labels.csv").read_text(encoding="utf-8"))
            known = images_of(record)
            pids = np.array([known[name][1] for name in names])
            return Grouped(names, labels, pids, f"round {number}, {done['settings']}")
    had = ", ".join(str(done["round"]) for done in record.rounds) or "none: it was made with --rounds 1"
    raise ConfigError(f"--round {number}: the rounds of this build with labels are {had}")


def images_of(record: Record) -> dict[str, tuple[Path, int]]:
    """List and name, such as `query/0001.jpg` -> file and identity, for every image of the build's data set."""
    competition = BuildConfig.model_validate(record.plan).competition
    layout, _ = settle_layout(competition.layout, Path(record.data))
    found = read_layout(layout, Path(record.data), competition.skip)
    splits = {key: getattr(found, key) for key in ("train", "query", "gallery", "unlabelled")}
    return {
        f"{key}/{name}": (path, int(pid))
        for key, split in splits.items()
        for name, path, pid in zip(split.names, split.paths, split.pids, strict=True)
    }


def write_sheet(file: Path, grouped: Grouped, record: Record, title: str) -> None:
    """Write a picture with one group per row."""
    known, (height, width) = images_of(record), BuildConfig.model_validate(record.plan).recipe.size
    paths = [known[name][0] for name in grouped.names]
    size = (SHEET_HEIGHT, SHEET_HEIGHT * width // height)
    file.parent.mkdir(parents=True, exist_ok=True)
    group_sheet(paths, grouped.labels, grouped.pids, size=size, title=title).save(file, "PNG")
    print(file)


def main(argv: Sequence[str] | None = None) -> None:
    """Cluster, or open a round's labels; print the score; write --out and --sheet."""
    args = parse(argv)
    check_device(args.device)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr))
    _, record, _ = open_build(store, args.build)
    grouped = open_round(args.round, store, record) if args.round else group_test(args, store, record)
    scored = score_round(grouped.labels, grouped.pids)
    said = f"{grouped.how}: {describe_round(scored)}"
    print(said)
    if args.out:
        names = [name.partition("/")[2] for name in grouped.names]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, as_csv(names, grouped.labels))
        write_text(args.out.with_suffix(".json"), as_json(args.method, scored))
        print(args.out)
    if args.sheet:
        write_sheet(args.sheet, grouped, record, said)


if __name__ == "__main__":
    run(main)
