"""Check all cached results for damage: `python -m ensemble.verify`. A build checks only what it reads."""

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

WHAT = "Check the SHA-256 of every file of every cached result. Exit status 1 if one is damaged."
EXAMPLE = """
  python -m ensemble.verify
  python -m ensemble.verify --remove     the next build rebuilds what it needs
"""
KEPT = "; not removed, since it lists the results of a build: run the same build to rebuild it"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.verify", WHAT, EXAMPLE)
    add_runs(parser)
    parser.add_argument("--remove", action="store_true", help="remove damaged results")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Check all results; remove damaged ones with --remove. Returns 1 if something is damaged."""
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
    """Whether a folder's name ends in a digest. Other folders, such as the logs, are in the store too."""
    digest = path.name.rpartition("-")[2]
    return len(digest) == 12 and set(digest) <= set("0123456789abcdef")


def _pointer(store: Store) -> str:
    """What is wrong with the pointer to the last build, as text; empty if nothing."""
    try:
        if (store.root / LAST).exists():
            last_build(store)
    except ResultError as e:
        return str(e)
    return ""


if __name__ == "__main__":
    run(main)
