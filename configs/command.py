"""How a command begins and ends: `--help` opens with an example; status 0 done, 2 the user can mend it, 130 stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from configs.errors import ReidError

WIDTH = 100


class CommandLine(argparse.ArgumentParser):
    """argparse with house manners: the example comes first, a mistake is one sentence, no option is guessed."""

    def __init__(self, prog: str, what: str, example: str) -> None:
        """prog: `python -m submit.make`. what: the sentence that says what it does. example: its lines."""
        self.example = example.strip("\n")
        super().__init__(
            prog=prog,
            usage=argparse.SUPPRESS,
            description=what,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=WIDTH),
            allow_abbrev=False,
        )

    def format_help(self) -> str:
        """The example, what the command does, its options."""
        return f"example:\n{self.example}\n\n{super().format_help().strip()}\n"

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, and leave with status 2."""
        print(f"error: {message}; {self.prog} --help lists what there is", file=sys.stderr)
        sys.exit(2)


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and leave with its exit status; none is 0."""
    try:
        sys.exit(main() or 0)
    except ReidError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
