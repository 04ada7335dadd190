"""The command that draws people: `python -m models.data.drawn --out DIR --ids N --seed S`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.data.drawn.sheet import write_sheet
from models.data.drawn.world import DrawnFolderError, draw_people


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
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
        print(f"drawn: {asked.sheet}: cannot be written ({error.strerror}); give another file", file=sys.stderr)
        return 2
    print(folder)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.data.drawn",
        usage="python -m models.data.drawn --out people --ids 80 --seed 0   (an example; the options are below)",
        description="Draw pedestrians into a Market-1501 folder: train, query, gallery and unlabelled images.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--ids", type=int, default=80, help="people, half for training and half for test (default 80)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default 0)")
    parser.add_argument("--size", type=_size, default=(128, 64), help="HEIGHTxWIDTH in pixels (default 128x64)")
    parser.add_argument("--level", default="normal", help="easy, normal or hard (default normal)")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet to this PNG file")
    parser.add_argument("--jobs", type=int, default=-1, help="worker processes, -1 for one per core (default)")
    return parser


def _size(text: str) -> tuple[int, int]:
    height, times, width = text.partition("x")
    if not (times and height.isdigit() and width.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 128x64")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
