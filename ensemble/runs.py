"""List the cached results, and remove unused ones: `python -m ensemble.runs`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from configs.console.command import CommandLine, run
from configs.console.event_log import EVENTS, LOGS, read_events
from configs.console.progress import duration
from configs.console.store_options import add_runs, check_runs
from configs.errors import ResultError
from configs.store.atomic_files import format_bytes
from configs.store.manifest import find_damage
from configs.store.store import Store
from ensemble.results.build_record import LAST
from ensemble.results.lineage import used_by
from ensemble.results.manifests import ResultHistory

WHAT = "List the cached results with size, age and the builds that use them. Remove unused results with --prune."
EXAMPLE = """
  python -m ensemble.runs
  python -m ensemble.runs --prune
"""
SILENT_S = 3600.0  # a build without events for so long counts as dead


@dataclass(frozen=True)
class Result:
    """One folder of a store.

    Attributes:
        used: `last build`, `a build`, `no build`, or `interrupted` for an unfinished result.
    """

    path: Path
    size: int
    age: float
    used: str


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.runs", WHAT, EXAMPLE)
    add_runs(parser)
    parser.add_argument("--prune", action="store_true", help="remove results that no recorded build uses; asks first")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(argv)


def results_of(store: Store) -> list[Result]:
    """All results and unfinished results, sorted by kind and age."""
    past = ResultHistory(store)
    last = used_by(past, [_last(store)])
    every = used_by(past, [m.key for m in past.manifests if m.key.startswith("builds/")])
    found = []
    for m in sorted(past.manifests, key=lambda m: (m.key.split("/")[0], -m.when)):
        used = "last build" if m.key in last else "a build" if m.key in every else "no build"
        path = store.root / m.key
        found.append(Result(path, _size(path), time.time() - m.when, used))
    for part in sorted(store.root.glob("*/.*.part")):
        found.append(Result(part, _size(part), time.time() - part.stat().st_mtime, "interrupted"))
    return found


def _last(store: Store) -> str:
    try:
        return str(json.loads((store.root / LAST).read_text(encoding="utf-8"))["build"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def at_work(store: Store) -> float | None:
    """Seconds since the last event of a running build; None if no build is running."""
    log = store.root / LOGS / EVENTS
    heard = {e.get("run"): e for e in (read_events(log) if log.exists() else ())}
    silent = [_age(e) for e in heard.values() if e["event"] not in ("built", "failed")]
    return min((s for s in silent if s < SILENT_S), default=None)


def _age(event: Mapping[str, Any]) -> float:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(str(event["time"])).timestamp())
    except (KeyError, ValueError):
        return 0.0


def table(results: Iterable[Result]) -> Table:
    """One line per result."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, side in (("kind", "left"), ("result", "left"), ("size", "right"), ("age", "right"), ("used by", "left")):
        shown.add_column(name, justify=side, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for r in results:
        cells = (r.path.parent.name, r.path.name, format_bytes(r.size), _told(r.age), r.used)
        shown.add_row(*(Text(c) for c in cells))
    return shown


def _told(age: float) -> str:
    """The age as text; negative if another machine's clock is ahead."""
    return duration(age) if age > -1 else f"{duration(-age)} ahead"


def prune(store: Store, results: Iterable[Result], *, sure: bool) -> str:
    """Remove results that no build uses, after a question unless `sure`. Returns a message."""
    idle = [r for r in results if r.used in ("no build", "interrupted")]
    total = sum(r.size for r in idle)
    if not idle:
        return "nothing to remove: every result is used by a recorded build"
    if (silent := at_work(store)) is not None:
        raise ResultError(
            f"{store.root}: a build that is not finished logged an event {duration(silent)} ago. Let it finish, or "
            f"start it again; after {duration(SILENT_S)} without events it counts as dead"
        )
    for path in sorted(store.root.glob("builds/[!.]*")):
        if (damage := find_damage(path)) is not None:
            raise ResultError(
                f"{path}: {damage}, so it is unknown which results this build uses, and nothing is removed. Run the "
                "build again to restore its record, or remove this folder"
            )
    if not sure:
        if not sys.stdin.isatty():
            return f"{len(idle)} results, {format_bytes(total)}, would be removed; nothing was removed: add --yes"
        if input(f"remove {len(idle)} results, {format_bytes(total)}? [y/N] ").strip().lower() not in ("y", "yes"):
            return "nothing was removed"
    gone = [r for r in idle if store.remove(r.path)]
    held = len(idle) - len(gone)
    said = f"removed {len(gone)} results, {format_bytes(sum(r.size for r in gone))}"
    return said + (f"; {held} are in use and stay" if held else "")


def main(argv: list[str] | None = None) -> None:
    """List the results, or remove unused ones with --prune."""
    args = parse(argv)
    check_runs(args.runs)
    store = Store(args.runs)
    results = results_of(store)
    Console(highlight=False).print(table(results))
    print(f"{len(results)} results, {format_bytes(sum(r.size for r in results))}")
    if args.prune:
        print(prune(store, results, sure=args.yes))


if __name__ == "__main__":
    run(main)
