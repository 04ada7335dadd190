"""What a store holds, and what of it nothing needs any more: `python -m ensemble.runs`."""

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
from configs.store.atomic_files import amount
from configs.store.manifest import find_damage
from configs.store.store import Store
from ensemble.results.build_record import LAST
from ensemble.results.lineage import used_by
from ensemble.results.manifests import Past

WHAT = "List the results of a store: their sizes, their age, and which builds use them; remove what none uses."
EXAMPLE = """
  python -m ensemble.runs
  python -m ensemble.runs --prune
"""
SILENT_S = 3600.0  # a build that said nothing for so long is dead


@dataclass(frozen=True)
class Result:
    """One folder of a store. used: `last build`, `a build` or `no build`; `interrupted` for half-made ones."""

    path: Path
    size: int
    age: float
    used: str


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.runs", WHAT, EXAMPLE)
    add_runs(parser)
    parser.add_argument("--prune", action="store_true", help="remove what no recorded build uses; asks first")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(argv)


def results_of(store: Store) -> list[Result]:
    """Every result and every interrupted one, by kind and age."""
    past = Past(store)
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
    """Seconds since a build of this store was last heard of that has not ended; None where every one has."""
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
    """A line a result."""
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name, side in (("kind", "left"), ("result", "left"), ("size", "right"), ("age", "right"), ("used by", "left")):
        shown.add_column(name, justify=side, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for r in results:
        cells = (r.path.parent.name, r.path.name, amount(r.size), _told(r.age), r.used)
        shown.add_row(*(Text(c) for c in cells))
    return shown


def _told(age: float) -> str:
    """A file may be of a machine whose clock is ahead."""
    return duration(age) if age > -1 else f"{duration(-age)} ahead"


def prune(store: Store, results: Iterable[Result], *, sure: bool) -> str:
    """Remove what no build uses, after asking; says what came of it."""
    idle = [r for r in results if r.used in ("no build", "interrupted")]
    total = sum(r.size for r in idle)
    if not idle:
        return "nothing to remove: every result is used by a recorded build"
    if (silent := at_work(store)) is not None:
        raise ResultError(
            f"{store.root}: a build that has not ended was heard of {duration(silent)} ago. Let it end, or start it "
            f"again; one that was silent for {duration(SILENT_S)} counts as dead"
        )
    for path in sorted(store.root.glob("builds/[!.]*")):
        if (damage := find_damage(path)) is not None:
            raise ResultError(
                f"{path}: {damage}, so what this build was made from cannot be told, and nothing is removed. Run the "
                "build again, which writes its record anew, or remove this folder"
            )
    if not sure:
        if not sys.stdin.isatty():
            return f"{len(idle)} results, {amount(total)}, would be removed; nothing was: add --yes"
        if input(f"remove {len(idle)} results, {amount(total)}? [y/N] ").strip().lower() not in ("y", "yes"):
            return "nothing was removed"
    gone = [r for r in idle if store.remove(r.path)]
    held = len(idle) - len(gone)
    said = f"removed {len(gone)} results, {amount(sum(r.size for r in gone))}"
    return said + (f"; {held} are at work and stay" if held else "")


def main(argv: list[str] | None = None) -> None:
    """List, and prune where asked."""
    args = parse(argv)
    check_runs(args.runs)
    store = Store(args.runs)
    results = results_of(store)
    Console(highlight=False).print(table(results))
    print(f"{len(results)} results, {amount(sum(r.size for r in results))}")
    if args.prune:
        print(prune(store, results, sure=args.yes))


if __name__ == "__main__":
    run(main)
