"""Bit-exact resume: interrupted trainings end with the bytes of the whole one; so do any workers and hash seeds."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.soak.kills import finish, send, start
from tests.soak.row import Row
from tests.soak.traps import die
from tests.soak.workshop import Workshop, digest_of

ROOT = Path(__file__).parent.parent.parent


def interrupt_trainings(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Six epochs, a checkpoint every second; each stopped one to four times, by SIGKILL, SIGTERM or Ctrl-C."""
    (shop.root / "longer").mkdir(exist_ok=True)
    longer = Workshop(shop.root / "longer", epochs=6, every=2)
    whole = metrics_of(longer.root / "undisturbed")
    row, how = Row("interrupted trainings that end in the same bytes"), Counter[str]()
    while shop.more(row.tried, tries):
        folder, kills = start(longer)
        for _ in range(rng.randint(1, 4)):
            done = longer.counted()["train"]
            act = rng.choice((die, die, send(signal.SIGTERM), send(signal.SIGINT)))
            ended = longer.run(folder, longer.at_batch(done + rng.randint(1, longer.work["train"] // 2), act))
            how[{-9: "SIGKILL", 143: "SIGTERM", 130: "Ctrl-C"}.get(ended.status, "ended before")] += 1
            kills += ended.status == -signal.SIGKILL
        faults = finish(longer, folder, kills)
        if not faults and metrics_of(folder) != whole:
            faults.append("epochs.jsonl holds other numbers")
        row.check(f"training {row.tried}", faults)
    row.happened = f"digest {longer.digest}; " + ", ".join(f"{name} {count}" for name, count in how.most_common())
    return row


def metrics_of(folder: Path) -> list[dict[str, object]]:
    """Every line of every member's metrics, but for the seconds."""
    found = []
    for path in sorted(folder.glob("runs/members/*/epochs.jsonl")):
        found += [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.open()]
    return found


def vary_workers(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """0 to 4 loader workers and three PYTHONHASHSEEDs, each a process of its own: one digest."""
    row, seen = Row("0 to 4 workers x three PYTHONHASHSEEDs: one digest"), Counter[str]()
    command = ("builds", "last.json", "score.json")  # --workers stands in it
    wanted = digest_of(shop.root / "undisturbed", command)
    pairs = [(workers, seed) for workers in range(5) for seed in ("0", "1", "4242")]
    for workers, seed in pairs if tries >= len(pairs) else rng.sample(pairs, tries):
        if not shop.more(row.tried, tries):
            break
        folder = shop.fresh("workers")
        argv = [sys.executable, "-m", "tests.soak.once", str(folder), *shop.argv, "--workers", str(workers)]
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        digest = digest_of(folder, command)
        seen[digest] += 1
        faults = [done.stderr[-800:]] if done.returncode else []
        row.check(f"{workers} workers, seed {seed}", faults + ([f"digest {digest}"] if digest != wanted else []))
    row.happened = f"digest {', '.join(seen)}"
    return row
