"""Check a submission file: `python -m submit.check FILE --competition NAME --data DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from configs.console.command import CommandLine, run
from submit.formats import LABEL_FORMATS
from submit.label_submission import check_command
from submit.submission import add_arguments, check_file, format_asked, open_rules, print_faults

WHAT = "List the faults of a submission file by line. Exit status: 0 valid, 1 not valid, 2 not checked."
EXAMPLE = """
  python -m submit.check submission.json --competition naic2020 --data DIR
  python -m submit.check track2.txt --competition aicity --data DIR --all
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.check", WHAT, EXAMPLE)
    parser.add_argument("file", type=Path, metavar="FILE", help="the submission file")
    add_arguments(parser)
    parser.add_argument("--all", action="store_true", help="print every fault, not the first 20")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check one file; returns the exit status."""
    args = parse(argv)
    if (name := format_asked(args)) in LABEL_FORMATS:
        return check_command(args, name)
    desk = open_rules(args)
    handed = check_file(args.file, desk)
    print_faults(handed, desk, None if args.all else 20)
    return 1 if handed.faults else 0


if __name__ == "__main__":
    run(main)
