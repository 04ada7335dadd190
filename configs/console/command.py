"""How a command starts and ends: `--help` begins with an example; exit status 0: done, 2: an error the user can fix.

Ctrl-C ends with status 130, SIGTERM with 143. Both print the command that resumes, without a traceback.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn

from configs.console.signals import Stopped, signal_handler, stop
from configs.errors import ReidError

WIDTH = 100
AUTO = "auto"
UNITS = {"s": 1, "m": 60, "h": 3600}
TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", re.ASCII)


class CommandLine(argparse.ArgumentParser):
    """argparse with the example first, one-line errors, and no abbreviated options."""

    def __init__(self, prog: str, what: str, example: str) -> None:
        """prog: such as `python -m submit.make`. what: one sentence on what it does. example: example lines."""
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
        """Print what is wrong with the command line, and exit with status 2."""
        print(f"error: {message}; {self.prog} --help lists all options", file=sys.stderr)
        sys.exit(2)


def at_least(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number of 31 bits, at least `low`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number < 2**31:
            raise argparse.ArgumentTypeError(f"{text[:40]!r}: wanted a whole number, {low} or more")
        return number

    return read


def number_or_auto(text: str) -> int | str:
    """An argparse type: a number of members to train at a time, or AUTO."""
    if text == AUTO:
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number of members to train at a time, or auto")
    return int(text)


def time_text(text: str) -> str:
    """An argparse type: a time, which `seconds_of` reads."""
    if not TIME.fullmatch(text) or not seconds_of(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: wanted a time above 0, such as 90s, 20m or 1.5h")
    return text


def seconds_of(text: str) -> float:
    """90s, 20m, 2h as seconds."""
    return float(text[:-1]) * UNITS[text[-1]]


def run(main: Callable[[], int | None]) -> None:
    """Run a command's main function and exit with its status; None is 0."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")  # names may have characters that the terminal cannot encode
    try:
        with signal_handler(stop):
            sys.exit(main() or 0)
    except ReidError as e:
        print(f"error: {shortened(str(e))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as e:
        stopped = e if isinstance(e, Stopped) else Stopped()
        kept = f" {stopped.kept};" if stopped.kept else ""
        if os.environ.get("RANK", "0") == "0":  # under torchrun, one process prints
            print(f"stopped;{kept} finished results are kept. To resume:\n  {same_command()}", file=sys.stderr)
        sys.exit(128 + stopped.number)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as e:  # from a typed path: name too long, folder not readable
        print(f"error: {shortened(str(e.filename or 'the system'))}: {e.strerror or e}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as e:
        print(f"error: out of memory ({e or 'size unknown'})", file=sys.stderr)
        sys.exit(2)


def shortened(text: str, most: int = 2000) -> str:
    """Cut the middle out of a message that is too long, such as one with a huge name."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 4 :]}"


def same_command() -> str:
    """The command line that started this process, quoted for the shell; torchrun's on one machine.

    An installed command has no `python` in front.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    begin = ["-m", spec.name.removesuffix(".__main__")] if spec else [sys.argv[0]]
    count, machines = os.environ.get("WORLD_SIZE", "1"), os.environ.get("GROUP_WORLD_SIZE")
    by = ["torchrun", "--nproc-per-node", count] if count != "1" and machines == "1" else ["python"]
    if not spec and by == ["python"] and os.access(sys.argv[0], os.X_OK):
        by = []
    return shlex.join([*by, *begin, *sys.argv[1:]])
