"""Write the report of a build, pages to look at: `python -m submit.report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from configs.artifact import Store
from configs.command import CommandLine, run
from configs.errors import ResultError
from configs.progress import Progress
from submit.report.write import write_report

WHAT = "Write the report of the last build: scores, every query, where the errors are. Pages that open from disk."
EXAMPLE = """
  python -m submit.report
  python -m submit.report --build builds/drawn-0123456789ab --out report
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.report", WHAT, EXAMPLE)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write (default: reports/<the build's name>)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where the build keeps its results (default: runs)",
    )
    parser.add_argument("--build", metavar="KEY", help="another build than the last, such as builds/drawn-0123456789ab")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Gather, write, and say where."""
    args = parse(argv)
    if not args.runs.is_dir():
        raise ResultError(f"{args.runs}: no such folder. Run python -m ensemble.build first, or name it with --runs")
    progress = Progress()
    store = Store(args.runs, progress.say)
    print(write_report(store, args.build, args.out, progress, args.device) / "index.html")


if __name__ == "__main__":
    run(main)
