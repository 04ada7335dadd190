"""Options shared by the commands: the folder of results, a build in it, the device."""

from __future__ import annotations

import argparse
from pathlib import Path

from configs.console.quoting import RUNS
from configs.errors import ResultError


def add_runs(parser: argparse.ArgumentParser) -> None:
    """`--runs DIR`."""
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="the folder of results (default: runs)")


def add_build(parser: argparse.ArgumentParser) -> None:
    """`--build KEY`."""
    parser.add_argument("--build", metavar="KEY", help="a build, such as builds/drawn-0123456789ab (default: last)")


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")


def check_runs(runs: Path) -> None:
    """Check that the folder of results exists.

    Raises:
        ResultError: it does not exist.
    """
    if not runs.is_dir():
        raise ResultError(f"{runs}: no such folder. Run python -m ensemble.build first, or name it with --runs")
