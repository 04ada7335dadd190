"""Hash every kept result and say which are damaged: `python -m ensemble.verify`. A build checks what it reads alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from configs.console.command import CommandLine, run
from configs.console.store_options import add_runs, check_runs
from configs.errors import ResultError
from configs.store.atomic_files import clear
from configs.store.manifest import find_damage
from configs.store.store import Store
from ensemble.results.build_record import LAST, last_build

WHAT = "Hash every file of every kept result against its manifest. Exit status 1 where one is damaged."
EXAMPLE = """
  python -m ensemble.verify
  python -m ensemble.verify --remove     and the next build makes anew what it needs of it
"""
KEPT = "; it stays, since it says what was made for it: the same build makes it anew"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.verify", WHAT, EXAMPLE)
    add_runs(parser)
    parser.add_argument("--remove", action="store_true", help="remove what is damaged")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check, say, and remove if asked to; 1 where something is damaged."""
    args = parse(argv)
    check_runs(args.runs)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr))
    results = [path for path in sorted(store.root.glob("[!.]*/[!.]*-*")) if path.is_dir() and _is_address(path)]
    records = [path for path in results if path.parent.name == "builds"]
    damaged = {path: damage for path in results if (damage := find_damage(path))}
    for path, damage in damaged.items():
        print(f"{path}: {damage}" + KEPT * (args.remove and path in records))
        if args.remove and path not in records:
            clear(path)
    pointer = _pointer(store)
    if pointer:
        print(pointer)
    print(
        f"{len(results):,} results, {len(damaged):,} damaged"
        + (", removed" if args.remove and damaged.keys() - set(records) else "")
    )
    return 1 if damaged or pointer else 0


def _is_address(path: Path) -> bool:
    """Whether a folder's name ends as an address does; the drawn people and the logs lie here too."""
    digest = path.name.rpartition("-")[2]
    return len(digest) == 12 and set(digest) <= set("0123456789abcdef")


def _pointer(store: Store) -> str:
    """What is wrong with the note of the last build."""
    try:
        if (store.root / LAST).exists():
            last_build(store)
    except ResultError as e:
        return str(e)
    return ""


if __name__ == "__main__":
    run(main)
