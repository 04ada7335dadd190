"""The command that draws people: `python -m models.data.drawn --out DIR --ids N --seed S`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import whole
from models.data.drawn.sheet import write_sheet
from models.data.drawn.world import DrawnFolderError, draw_people


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        folder = draw_people(
            asked.out, ids=asked.ids, seed=asked.seed, size=asked.size, level=asked.level, n_jobs=asked.jobs
        )
        if asked.sheet:
            write_sheet(folder, asked.sheet)
    except DrawnFolderError as error:
        print(f"drawn: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"drawn: {asked.sheet}: cannot be written ({error.strerror}); name another file", file=sys.stderr)
        return 2
    print(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.data.drawn",
        usage="python -m models.data.drawn --out people --ids 80 --seed 0   (an example; the options are below)",
        description="Draw pedestrians into a Market-1501 folder: train, query, gallery, and unlabelled pictures.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to make")
    parser.add_argument(
        "--ids", type=whole(2), default=80, help="people, half to train on and half to test (default 80)"
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of everything (default 0)")
    parser.add_argument("--size", type=_size, default=(128, 64), help="HEIGHTxWIDTH in pixels (default 128x64)")
    parser.add_argument("--level", default="normal", help="easy, normal or hard (default normal)")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet of it to this PNG file")
    parser.add_argument("--jobs", type=whole(-1), default=-1, help="worker processes, -1 for one a core (default)")
    return parser


def _size(text: str) -> tuple[int, int]:
    height, times, width = text.partition("x")
    if not (times and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 128x64")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
