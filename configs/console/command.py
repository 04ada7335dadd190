"""How a command begins and ends: `--help` opens with an example; status 0 done, 2 the user can mend it.

Ctrl-C leaves with 130, SIGTERM with 143: each with the command that goes on from there, and no traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn

from configs.console.signals import Stopped, heard, stop
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


def whole(low: int) -> Callable[[str], int]:
    """For `type=` of an option: a whole number, `low` or more, of 31 bits."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number < 2**31:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: wanted a whole number, {low} or more")
        return number

    return read


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and leave with its exit status; none is 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")  # a name may hold what a terminal has no letters for
    try:
        with heard(stop):
            sys.exit(main() or 0)
    except ReidError as e:
        print(f"error: {shortened(str(e))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as e:
        stopped = e if isinstance(e, Stopped) else Stopped()
        kept = f" {stopped.kept};" if stopped.kept else ""
        if os.environ.get("RANK", "0") == "0":  # of the processes that torchrun starts, one says it for all
            print(f"stopped;{kept} what was finished is kept. To go on:\n  {same_command()}", file=sys.stderr)
        sys.exit(128 + stopped.number)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as e:  # of a path that was typed: a name too long, a folder that may not be read
        print(f"error: {shortened(str(e.filename or 'the system'))}: {e.strerror or e}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as e:
        print(f"error: more memory is wanted than there is ({e or 'no size told'})", file=sys.stderr)
        sys.exit(2)


def shortened(text: str, most: int = 2000) -> str:
    """A sentence without its middle where a name of megabytes stands in it."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def same_command() -> str:
    """The command line that started this process, or on one machine torchrun's, as it may be typed again.

    A command that was installed is typed without `python`.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    begin = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    count, machines = os.environ.get("WORLD_SIZE", "1"), os.environ.get("GROUP_WORLD_SIZE")
    by = ["torchrun", "--nproc-per-node", count] if count != "1" and machines == "1" else ["python"]
    if not spec and by == ["python"] and os.access(sys.argv[0], os.X_OK):
        by = []
    return shlex.join([*by, *begin, *sys.argv[1:]])
