"""Train the members, keep their features, sum their distances, re-rank: `python -m ensemble.build`.

In Python: `import ensemble` and `ensemble.build(members=..., data=...)`; docs/python.md.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.console.call import call_as, read_call, settings
from configs.console.command import CommandLine, at_least, number_or_auto, run, time_text
from configs.console.quoting import RUNS
from configs.console.store_options import add_device, add_runs
from configs.external_members import text_of
from models.data.layouts import AUTO, LAYOUTS

if TYPE_CHECKING:
    from ensemble.finished import Build

FIVE = "r50,rx50,ibn_a,ibn_b,se_ibn_a"
WHAT = "Train the members, keep their features, sum their distances, re-rank. What exists is not made again."
EXAMPLE = f"""
  python -m ensemble.build --members {FIVE}
  python -m submit.make

  With no --data it draws people to train on. A folder of your own:
  python -m ensemble.build --members r50,ibn_a --data DIR --layout market1501 --set recipe.epochs=60
"""


def options() -> CommandLine:
    """The options of the command; `build` has a keyword for each."""
    parser = CommandLine("python -m ensemble.build", WHAT, EXAMPLE)
    parser.add_argument(
        "--members",
        default=FIVE,
        metavar="NAMES",
        help="names from configs/members.yaml, timm:MODEL (docs/recipe.md), and files of features (docs/desk.md); "
        "default: all five",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of the data set (default: drawn people)")
    parser.add_argument("--layout", metavar="NAME", help=f"the folder layout: {', '.join((AUTO, *LAYOUTS))}")
    parser.add_argument(
        "--competition",
        metavar="NAME",
        help="of configs/competitions, or any FILE.yaml: layout, format, K, AP and junk rules",
    )
    parser.add_argument("--recipe", metavar="NAME", help="of configs/recipes, such as strong or mgn, or any FILE.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as recipe.epochs=3; may be repeated"
    )
    parser.add_argument(
        "--holdout", type=float, metavar="SHARE", help="keep this share of identities aside to score on"
    )
    parser.add_argument(
        "--folds", type=at_least(2), metavar="K", help="train each member K times more, for out-of-fold features"
    )
    parser.add_argument(
        "--rounds",
        type=at_least(1),
        metavar="N",
        help="2: label the unlabelled images, and train again with them (default: 1)",
    )
    add_runs(parser)
    hidden = argparse.SUPPRESS
    parser.add_argument("--out", dest="runs", type=Path, default=hidden, help=hidden)  # its earlier name
    add_device(parser)
    parser.add_argument(
        "--workers", type=at_least(0), default=0, metavar="N", help="loader processes; the pixels are the same for any"
    )
    parser.add_argument(
        "--parallel",
        type=number_or_auto,
        default=1,
        metavar="N",
        help="members trained at a time, each in a process of its own, the GPUs dealt in turn (default: 1); auto: a "
        "member on each GPU, on one GPU what it holds, on a CPU 1. Every byte is that of one after another, with the "
        "same number of threads (OMP_NUM_THREADS)",
    )
    parser.add_argument("--budget", type=time_text, metavar="TIME", help="such as 20m: as many epochs as fit into it")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what is kept, what would be made again and why, and the cost; stop"
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=("tensorboard", "json"),
        help="curves in DIR/logs for tensorboard --logdir; json: events instead of words (DIR/logs/build.jsonl always)",
    )
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return options().parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Carry out one build and record it."""
    args = parse(argv)
    from ensemble.carry_out import carry_out_command  # torch: seconds, which --help and a mistyped option do not need

    carry_out_command(args)


def build(
    members: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = FIVE,
    *,
    data: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    competition: str | os.PathLike[str] | None = None,
    recipe: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    holdout: float | None = None,
    folds: int | None = None,
    rounds: int | None = None,
    runs: str | os.PathLike[str] = RUNS,
    device: str = "auto",
    workers: int = 0,
    parallel: int | str = 1,
    budget: str | None = None,
    dry_run: bool = False,
    log: str | Sequence[str] = (),
    quiet: bool = False,
) -> Build | Any:
    """Carry out one build as the command does: the same checks, the same results in the same places.

    Args:
        members: names from configs/members.yaml, and files of features; a list of them, or text with commas.
        data: the folder of the data set; None draws people. layout: its folder layout, such as market1501.
        competition: of configs/competitions, or a FILE.yaml. recipe: of configs/recipes, or a FILE.yaml.
        set: changes, such as {"recipe.epochs": 3, "ensemble.lam": 0.5}, or ["recipe.epochs=3"].
        holdout: the share of identities that is kept aside to score on.
        folds: train each member so many times more, without each part of the training identities, for its features.
        rounds: 2 labels the unlabelled images and trains again with them.
        runs: the folder of results.
        device: auto, cpu or cuda. workers: loader processes. parallel: members trained at a time, or "auto".
        budget: the time that the whole may take, such as "20m"; the epochs are chosen by it.
        dry_run: say what would be made and what it costs, and return None.
        log: tensorboard, json, or both.
        quiet: say nothing but warnings; else what the command says goes to standard error.

    Returns:
        The finished build; None of a dry run.

    Raises:
        ReidError: what ends the command with status 2, with the same sentence.
    """
    given = locals() | {"members": text_of(members), "set": settings(set)}
    del given["quiet"]
    args = read_call(options(), given)
    from ensemble.carry_out import carry_out  # torch: seconds, which --help and a mistyped option do not need
    from ensemble.finished import open_build

    key = carry_out(args, quiet=quiet)
    return open_build(args.runs, key) if key else None


def script() -> None:
    """The command `reid-build`."""
    run(main)


call_as(__name__, build)

if __name__ == "__main__":
    script()
