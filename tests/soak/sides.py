"""Members made side by side, the main process or a worker killed or stopped: the same bytes, nobody left behind."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from configs.console.event_log import read_events
from tests.soak.row import Row
from tests.soak.workshop import Workshop, damage_in, digest_of, leftovers_in

COMMAND = ("builds", "last.json", "score.json")  # --parallel stands in it
PATIENCE_S = 60.0
HOOK = "from tests.soak.workshop import register\nregister()\n"  # for workers, which are no forks of this process


def disturb_side_by_side(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """A hundred epochs; a moment after the first word of a worker a signal; then the build goes on."""
    row, how = Row("two members at a time, the main process or a worker killed or stopped"), Counter[str]()
    (shop.root / "beside").mkdir(exist_ok=True)
    shop = Workshop(shop.root / "beside", epochs=100, every=2, until=shop.until)
    (shop.root / "hook").mkdir(exist_ok=True)
    (shop.root / "hook" / "sitecustomize.py").write_text(HOOK)
    wanted = digest_of(shop.root / "undisturbed", COMMAND)
    while shop.more(row.tried, tries):
        folder, number = shop.fresh("sides"), rng.choice((signal.SIGKILL, signal.SIGTERM))
        main, pipe = shop.fork(folder, with_hook(shop), side_by_side(shop, 2))
        workers = wait_for_workers(folder, main)
        time.sleep(rng.uniform(0, shop.seconds / 2))
        whom = rng.choice(("main process", "worker"))
        at = main if whom == "main process" else rng.choice(sorted(workers or {main}))
        try:
            os.kill(at, number)
        except ProcessLookupError:  # it had ended
            whom = "nobody"
        ended = shop.wait((main, pipe))
        how[f"{whom} {number.name}, status {ended.status}"] += 1
        faults = [f"process {pid} lives on" for pid in workers if not gone(pid)]
        if "Traceback" in ended.said:
            faults.append(f"said {ended.said[-600:]}")
        faults += damage_in(folder)
        again = shop.run(folder, with_hook(shop), side_by_side(shop, rng.choice((1, 2))))
        if again.status or digest_of(folder, COMMAND) != wanted:
            faults.append(f"then ended with {again.status}, digest {digest_of(folder, COMMAND)}: {again.said[-600:]}")
        row.check(f"try {row.tried}, {whom} {number.name}", faults + damage_in(folder) + leftovers_in(folder))
    row.happened = ", ".join(f"{what} {count}" for what, count in how.most_common())
    return row


def with_hook(shop: Workshop) -> Callable[[], None]:
    """A fork whose workers find the tiny backbone."""
    return lambda: sys.path.insert(0, str(shop.root / "hook"))


def side_by_side(shop: Workshop, parallel: int) -> Callable[[Path], None]:
    """The build, so many members at a time."""
    return lambda folder: shop.carry_out(folder, ["--parallel", str(parallel)])


def wait_for_workers(folder: Path, main: int) -> set[int]:
    """The workers that have said something; none where the build has ended meanwhile."""
    log, until = folder / "runs" / "logs" / "build.jsonl", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if log.exists() and (found := {e["pid"] for e in read_events(log)} - {main}):
            return found
        time.sleep(0.02)
    return set()


def gone(pid: int) -> bool:
    """Whether a process ends within the patience."""
    until = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()
