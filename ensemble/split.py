"""Make a held-out split of labelled data, shaped like the test lists: `python -m ensemble.split --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from configs.console.command import CommandLine, at_least, run
from configs.console.tables import plain_table
from configs.errors import ConfigError
from configs.load import load_competition
from models.data.heldout.board_split import Shape, make_board, shape_of
from models.data.layouts import AUTO, LAYOUTS, read_layout, settle_layout
from models.data.layouts.table_writer import write_table
from models.data.split import UNKNOWN, Split, scorable

WHAT = (
    "Split labelled training images by identity into training, query and gallery lists. The lists are shaped like the "
    "data set's test lists. They are written as a table that a build reads. No picture is copied."
)
EXAMPLE = """
  python -m ensemble.split --data /data/naic --competition naic2020 --out held
  python -m ensemble.build --data held --layout table
  python -m ensemble.tune
"""

COLUMNS = (
    *("train images", "identities", "queries", "gallery", "ratio"),
    *("persons", "images per person", "distractors", "cameras"),
)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.split", WHAT, EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of the data set")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder to write; must not have a table yet"
    )
    parser.add_argument("--layout", metavar="NAME", help=f"the folder layout: {', '.join((AUTO, *LAYOUTS))}")
    parser.add_argument(
        "--competition", default="own", metavar="NAME", help="of configs/competitions, or a FILE.yaml (default: own)"
    )
    parser.add_argument(
        "--share", type=float, default=0.2, metavar="SHARE", help="share of the identities to hold out (default: 0.2)"
    )
    parser.add_argument("--images", metavar="LOW:HIGH", help="images per held-out identity, such as 2:20")
    parser.add_argument("--queries", type=at_least(1), metavar="N", help="queries per held-out identity")
    parser.add_argument("--ratio", type=float, metavar="R", help="ratio of queries to gallery images, by distractors")
    parser.add_argument(
        "--distractors", type=float, metavar="SHARE", help="share of distractors: gallery images without a query"
    )
    parser.add_argument(
        "--cameras", choices=("auto", "yes", "no"), default="auto", help="auto: if the data has them (default)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="random seed (default: 0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Split one data set."""
    args = parse(argv)
    rules = load_competition(args.competition, layout=args.layout)
    layout, why = settle_layout(rules.layout, args.data)
    if why:
        print(why, file=sys.stderr)
    benchmark = read_layout(layout, args.data, rules.skip, wanted=("train",))
    shape = asked_shape(args, shape_of(benchmark, args.share))
    board = make_board(benchmark.train, shape, args.seed)
    pictures = write_table(args.out, board.train, board.query, board.gallery, benchmark.labels, benchmark.cameras)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(f"pictures stay in {pictures}; seed {args.seed}", soft_wrap=True, markup=False)
    lists = {"made": (board.train, board.query, board.gallery)}
    if len(benchmark.query) and len(benchmark.gallery):
        lists = {"the board": (benchmark.train, benchmark.query, benchmark.gallery)} | lists
    console.print(compared(lists))
    print(args.out)


def asked_shape(args: argparse.Namespace, seen: Shape) -> Shape:
    """The shape of the test lists, changed by the command line's options.

    Raises:
        ConfigError: a number out of range.
    """
    if not 0 < args.share < 1:
        raise ConfigError(f"--share {args.share:g}: wanted a share of the identities above 0 and below 1, such as 0.2")
    if args.distractors is not None and not 0 <= args.distractors < 1:
        raise ConfigError(f"--distractors {args.distractors:g}: wanted a share of the gallery, at least 0 and below 1")
    if args.ratio is not None and not args.ratio > 0:
        raise ConfigError(f"--ratio {args.ratio:g}: wanted a ratio of queries to gallery images above 0, such as 0.2")
    if args.queries is not None and args.queries < 1:
        raise ConfigError(f"--queries {args.queries}: wanted 1 or more")
    changes: dict[str, object] = {"images": _span(args.images)} if args.images else {}
    changes |= {k: getattr(args, k) for k in ("queries", "distractors") if getattr(args, k) is not None}
    if args.ratio is not None:
        changes |= {"ratio": args.ratio, "distractors": args.distractors}
    if args.cameras == "yes" and not seen.cameras:
        raise ConfigError("--cameras yes: a list of the data set has no cameras, or there is only one camera")
    return replace(seen, **changes, cameras=seen.cameras and args.cameras != "no")  # type: ignore[arg-type]


def _span(text: str) -> tuple[int, int | None]:
    low, _, high = text.partition(":")
    try:
        span = int(low), int(high) if high else None
    except ValueError:
        span = 0, None
    if span[0] < 2 or (span[1] is not None and span[1] < span[0]):
        raise ConfigError(f"--images {text!r}: wanted LOW:HIGH, LOW at least 2, such as 2:20")
    return span


def compared(lists: Mapping[str, Sequence[Split]]) -> Table:
    """A table of sizes, one row per benchmark."""
    table = plain_table([""], COLUMNS)
    for name, (train, query, gallery) in lists.items():
        sizes = len(train), len(set(train.pids.tolist()) - {UNKNOWN}), len(query), len(gallery)
        ratio = f"{len(query) / len(gallery):.2f}"
        table.add_row(name, *(f"{n:,}" for n in sizes), ratio, *_persons(query, gallery))
    return table


def _persons(query: Split, gallery: Split) -> list[str]:
    """Number of query identities, their images (median and range), share of distractors, cameras."""
    cameras = set(query.camids.tolist()) | set(gallery.camids.tolist())
    seen = f"{len(cameras - {UNKNOWN})}" if query.cameras and gallery.cameras else "none"
    if not scorable(query, gallery):
        return ["unknown", "unknown", "unknown", seen]
    asked = np.unique(query.pids[query.pids != UNKNOWN])
    right = np.isin(gallery.pids, asked)
    sizes = [int((query.pids == p).sum() + (gallery.pids == p).sum()) for p in asked]
    images = f"{np.median(sizes):g} ({min(sizes)} to {max(sizes)})"
    return [f"{len(asked):,}", images, f"{100 * (1 - right.mean()):.0f} %", seen]


if __name__ == "__main__":
    run(main)
