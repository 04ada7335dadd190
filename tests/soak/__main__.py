"""The promises of a night, each put to the test as often as asked: `make soak`, or `python -m tests.soak kills`.

Prints a row a promise: how often it was tried, how often it did not hold, what happened. Status 1 where one did not.
"""

from __future__ import annotations

import os

# One thread, as promised: sums of another number of threads round otherwise. It is read when numpy and torch come in.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak import crowd, disk, kills, resumes, rot, sides
from tests.soak.row import HEAD, Row
from tests.soak.workshop import Workshop

Try = Callable[[Workshop, int, random.Random], Row]
PROMISES: dict[str, tuple[int, int, Try]] = {  # name -> (tries, tries with --quick, what tries)
    "kills": (250, 1, kills.kill_at_random),
    "steps": (1000, 3, kills.kill_at_steps),  # as many as there are
    "torn": (100, 1, kills.kill_in_files),
    "signals": (60, 2, kills.stop_politely),
    "resumes": (30, 1, resumes.interrupt_trainings),
    "workers": (15, 0, resumes.vary_workers),
    "flips": (1000, 8, rot.flip_bits),
    "cuts": (200, 8, rot.cut_files),
    "swaps": (100, 4, rot.swap_files),
    "checkpoints": (60, 1, rot.spoil_checkpoints),
    "crowds": (10, 1, crowd.crowd),
    "sides": (20, 1, sides.disturb_side_by_side),
    "full": (40, 1, disk.fill),
    "quotas": (20, 1, disk.limit),
    "read-only": (20, 1, disk.forbid),
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("promises", nargs="*", choices=[*PROMISES, []], help=f"of {', '.join(PROMISES)}; default all")
    parser.add_argument("--quick", action="store_true", help="a few tries each, in seconds")
    parser.add_argument("--share", type=float, default=1.0, help="of the tries, such as 0.1")
    parser.add_argument("--minutes", type=float, help="to stop after, the rest shared evenly among what is left to try")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places drawn")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where a scratch folder is made")
    return parser.parse_args()


def rows(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """A row for each test of each promise."""
    shop = Workshop(folder)
    begun, names = time.monotonic(), asked.promises or [*PROMISES]
    for done, name in enumerate(names):
        tries, few, test = PROMISES[name]
        if asked.minutes:
            now = time.monotonic()
            shop.until = now + (60 * asked.minutes - (now - begun)) / (len(names) - done)
        yield test(shop, few if asked.quick else max(1, round(asked.share * tries)), random.Random(asked.seed))


def main() -> int:
    """Try every promise, and print what they came to."""
    asked, begun, lost = parse(), time.monotonic(), 0
    base = asked.folder if asked.folder.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="soak-", dir=base) as folder:
        Path(folder).chmod(0o755)  # other users try too
        said = sys.stdout
        sys.stdout = sys.stderr  # the table alone goes to standard output
        print(HEAD, file=said, flush=True)
        for row in rows(asked, Path(folder)):
            print(row, file=said, flush=True)
            lost += len(row.lost)
            for fault in row.lost:
                print(f"LOST {row.promise}: {fault}", file=sys.stderr, flush=True)
    cpu = sum(os.times()[:4])
    print(f"{lost} lost; {time.monotonic() - begun:,.0f} s, {cpu:,.0f} s of processor", file=sys.stderr)
    return min(lost, 1)


if __name__ == "__main__":
    sys.exit(main())
