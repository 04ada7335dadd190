"""Check a data set before a build: `python -m ensemble.doctor --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from configs.console.command import CommandLine, at_least, run
from configs.console.progress import Progress
from configs.console.tables import plain_table
from configs.errors import ConfigError
from configs.load import load_build_config
from configs.recipe import Recipe
from configs.schema import PARTS, Competition
from models.data.doctor.finding import HURTS, STOPS, Finding, count
from models.data.doctor.findings import (
    distractors,
    find_in_files,
    find_in_lists,
    find_in_rules,
    long_tail,
    people_of,
)
from models.data.doctor.inspect_files import InspectedFile, inspect_files
from models.data.doctor.label_list import read_label_list
from models.data.layouts import AUTO, LAYOUTS, read_layout, settle_layout
from models.data.split import UNKNOWN, Benchmark, Split

WHAT = "Say what a data set holds, what is wrong with it, and what that would do. Exit status 1: a build would stop."
EXAMPLE = """
  python -m ensemble.doctor --data DIR
  python -m ensemble.doctor --data DIR --layout naic2020 --quick
  python -m ensemble.doctor --data DIR --recipe scratch --set 'competition.skip=[0007.jpg]'
  python -m ensemble.doctor --data train_list.txt
"""
BAR = 30


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.doctor", WHAT, EXAMPLE)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="its folder, or one label list")
    parser.add_argument("--layout", metavar="NAME", help=f"its layout (default: auto): {', '.join((AUTO, *LAYOUTS))}")
    parser.add_argument(
        "--competition", default="own", metavar="NAME", help="as for ensemble.build: layout, lists, what is left out"
    )
    parser.add_argument("--recipe", metavar="NAME", help="as for ensemble.build: identities of a batch")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="as for ensemble.build: keys of recipe and competition, such as competition.skip=[0007.jpg]",
    )
    parser.add_argument("--quick", action="store_true", help="look at the lists alone, and decode no file")
    parser.add_argument("--jobs", type=at_least(-1), default=-1, metavar="N", help="workers (default: -1, one a core)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check one data set.

    Returns:
        1 if a build would stop at an error, else 0.
    """
    args = parse(argv)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    parts: dict[str, Sequence[InspectedFile]] = {}
    recipe, competition = asked_for(args)
    if args.data.is_file():
        benchmark, found = read_label_list(args.data)
        print(f"a label list by itself: {args.data.name}")
        found += find_in_lists(benchmark, recipe, lists=PARTS[:1])
    else:
        layout, why = settle_layout(competition.layout, args.data)
        benchmark = read_layout(layout, args.data, competition.skip, wanted=())
        print(why or f"layout {layout}")
        found = [*benchmark.found, *find_in_lists(benchmark, recipe), *find_in_rules(competition, benchmark)]
        if not args.quick:
            parts = look_into(benchmark, args.jobs)
            found += find_in_files(
                {part: (getattr(benchmark, part), files) for part, files in parts.items()}, benchmark.labels
            )
    show_counts(console, benchmark, parts)
    show_tail(console, benchmark.train)
    show_findings(found)
    return 1 if any(finding.weight == STOPS for finding in found) else 0


def asked_for(args: argparse.Namespace) -> tuple[Recipe, Competition]:
    """The recipe and the competition of a build with the same options.

    Raises:
        ConfigError: as `load_build_config`, or `--set` changes a table that the doctor does not read.
    """
    for change in args.set:
        if change.partition(".")[0] not in ("recipe", "competition"):
            raise ConfigError(f"--set {change}: the doctor reads recipe and competition alone; leave it out")
    plan = load_build_config(
        ["r50"], competition=args.competition, layout=args.layout, recipe=args.recipe, sets=args.set
    )
    return plan.recipe, plan.competition


def look_into(benchmark: Benchmark, n_jobs: int) -> dict[str, Sequence[InspectedFile]]:
    """The inspected files of each list, in the order of the list."""
    paths = [path for part in PARTS for path in getattr(benchmark, part).paths]
    files = iter(inspect_files(paths, Progress(), n_jobs))
    return {part: [next(files) for _ in range(len(getattr(benchmark, part)))] for part in PARTS}


def show_counts(console: Console, benchmark: Benchmark, seen: dict[str, Sequence[InspectedFile]]) -> None:
    """Print one line per list: images, identities, cameras. If files were decoded, also their sizes and domains."""
    columns = ["images", "identities", "cameras", "distractors", "height x width", "green"]
    table = plain_table([""], columns if seen else columns[:4])
    for part in PARTS:
        split: Split = getattr(benchmark, part)
        if not len(split):
            continue
        people = people_of(split, benchmark.query if part == "gallery" else None)
        strangers = distractors(benchmark.query, split) if part == "gallery" else 0
        cells = [len(split), len(people), len(set(split.camids.tolist()) - {UNKNOWN}), strangers]
        table.add_row(part, *(f"{n:,}" if n else "-" for n in cells), *_sizes(seen[part] if seen else None))
    console.print()
    console.print(table)


def _sizes(files: Sequence[InspectedFile] | None) -> list[str]:
    """Median size and range, and the share of green images."""
    if files is None:
        return []
    good = [seen for seen in files if not seen.trouble]
    if not good:
        return ["-", "-"]
    sides = np.array([(seen.height, seen.width) for seen in good])
    low, mid, high = sides.min(axis=0), np.median(sides, axis=0).astype(int), sides.max(axis=0)
    size = f"{mid[0]}x{mid[1]}" + ("" if (low == high).all() else f" ({low[0]}x{low[1]} to {high[0]}x{high[1]})")
    green = Counter(seen.domain for seen in good)["green"] / len(good)
    return [size, f"{100 * green:.0f} %"]


def show_tail(console: Console, train: Split) -> None:
    """Print how many images the training identities have."""
    rows = long_tail(train)
    if not rows:
        return
    most = max(people for _, _, people, _ in rows)
    console.print("\ntraining images of an identity")
    for low, high, people, images in (row for row in rows if row[2]):
        span = f"{low}" if low == high else f"{low} to {high}"
        bar = "#" * max(1, round(BAR * people / most))
        text = f"  {span:>12}  {bar:<{BAR}}  {count(people, 'identity', 'identities')}, {count(images, 'image')}"
        console.print(text, soft_wrap=True, markup=False)


def show_findings(found: Sequence[Finding]) -> None:
    """Print the findings and their effects, the most serious first."""
    print()
    if not found:
        print("nothing is wrong with it")
    order = {STOPS: 0, HURTS: 1}
    for finding in sorted(found, key=lambda f: order.get(f.weight, 2)):
        print(f"{finding.weight}: {finding.text}: {finding.does}")
        for example in finding.examples:
            print(f"       {example}")


if __name__ == "__main__":
    run(main)
