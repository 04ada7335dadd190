"""Kill anything: the same final bytes, nothing unreadable, no stale lock, little lost."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.soak.row import Row
from tests.soak.traps import at_step, die, point_of, say_steps, tear
from tests.soak.workshop import Workshop, damage_in, digest_of, leftovers_in

BATCHES_A_SHARD = 2


def kill_at_random(shop: Workshop, kills: int, rng: random.Random) -> Row:
    """SIGKILL at a moment drawn evenly over a build; a build that goes on is killed again half the time."""
    row, chains, late = Row("SIGKILL at a random moment"), Counter[int](), 0
    while shop.more(row.tried, kills):
        folder, killed = start(shop)
        while not killed or rng.random() < 0.5:
            child = shop.fork(folder)
            time.sleep(rng.uniform(0, shop.seconds))
            os.kill(child[0], signal.SIGKILL)
            if shop.wait(child).status != -signal.SIGKILL:
                late += 1
                break
            killed += 1
            row.check(f"kill {row.tried}", damage_in(folder))
        if killed:
            row.lost += [f"after {killed} kills: {fault}" for fault in finish(shop, folder, killed)]
            chains[killed] += 1
    row.happened = f"{sum(chains.values())} builds, killed up to {max(chains)} times; {late} had ended before"
    return row


def kill_at_steps(shop: Workshop, most: int, rng: random.Random) -> Row:
    """SIGKILL before each step that a build makes on the disk: open, fsync, rename, remove, mkdir."""
    steps, met = steps_of(shop), Counter[str]()
    chosen = range(1, len(steps) + 1)
    row = Row("SIGKILL at every step on the disk")
    for n in rng.sample(chosen, len(steps)):
        if not shop.more(row.tried, most):
            break
        folder, _ = start(shop)
        ended = shop.run(folder, at_step(folder, n, die))
        if ended.status != -signal.SIGKILL:
            row.check(f"step {n}", [f"ended with {ended.status}, not killed"])
            continue
        row.check(f"step {n} ({steps[n - 1]})", [*damage_in(folder), *finish(shop, folder, 1)])
        met[point_of(steps[n - 1])] += 1
    row.happened = f"of {len(steps)} steps; " + ", ".join(f"{name} {count}" for name, count in met.most_common())
    return row


def kill_in_files(shop: Workshop, kills: int, rng: random.Random) -> Row:
    """Killed with a file half written, at a length drawn at random."""
    steps = steps_of(shop)
    opened = [n for n, step in enumerate(steps, 1) if step.startswith("open")]
    row, met, whole = Row("SIGXFSZ in the middle of a file"), Counter[str](), 0
    while shop.more(row.tried, kills):
        n = rng.choice(opened)
        folder, _ = start(shop)
        ended = shop.run(folder, at_step(folder, n, tear(int(10 ** rng.uniform(0, 4.8)))))
        if ended.status != -signal.SIGXFSZ:
            whole += 1
            continue
        row.check(f"in {steps[n - 1]}", [*damage_in(folder), *finish(shop, folder, 1)])
        met[point_of(steps[n - 1])] += 1
    row.happened = ", ".join(f"{name} {count}" for name, count in met.most_common()) + f"; {whole} wrote no more"
    return row


def stop_politely(shop: Workshop, stops: int, rng: random.Random) -> Row:
    """Ctrl-C and SIGTERM: status 130 and 143, the command that goes on, no traceback, no batch of training twice."""
    row, steps = Row("Ctrl-C and SIGTERM, in training and at a random step"), len(steps_of(shop))
    saved = 0
    while shop.more(row.tried, stops):
        number = rng.choice((signal.SIGINT, signal.SIGTERM))
        folder, _ = start(shop)
        if row.tried % 2:
            trap = at_step(folder, rng.randint(1, steps), send(number))
        else:
            trap = shop.at_batch(rng.randint(1, shop.work["train"]), send(number))
        ended = shop.run(folder, trap)
        faults = damage_in(folder)
        if ended.status != 128 + number:
            faults.append(f"status {ended.status}: {ended.said[-600:]}")
        if "Traceback" in ended.said or "To resume:\n  python " not in ended.said:
            faults.append(f"said {ended.said[-600:]}")
        saved += "is saved after" in ended.said
        row.check(f"signal {number}", [*faults, *finish(shop, folder, 1, train=0)])
    row.happened = f"{saved} in training, saved after the batch"
    return row


def send(number: int) -> Callable[[], None]:
    """What sends this process a signal."""
    return lambda: os.kill(os.getpid(), number)


def start(shop: Workshop) -> tuple[Path, int]:
    """An empty folder, no batch counted, no kill yet."""
    shop.reset()
    return shop.fresh("killed"), 0


def finish(shop: Workshop, folder: Path, kills: int, train: int | None = None) -> list[str]:
    """Run the build again to its end; what is wrong then.

    Args:
        train: batches of training that each kill may cost; one checkpoint interval where not given.
    """
    ended = shop.run(folder)
    faults = [f"ended with {ended.status}: {ended.said[-600:]}"] if ended.status else []
    if not ended.status and digest_of(folder) != shop.digest:
        faults.append(f"digest {digest_of(folder)}, undisturbed {shop.digest}")
    faults += leftovers_in(folder) + damage_in(folder)
    if "waiting" in ended.said:
        faults.append("waited for a lock that nobody holds")
    interval = shop.work["train"] // (2 * shop.epochs) * shop.every
    allowed = {"train": interval if train is None else train, "extract": BATCHES_A_SHARD}
    for what, done in shop.counted().items():
        if done > shop.work[what] + kills * allowed[what]:
            faults.append(f"{done} batches of {what}, undisturbed {shop.work[what]}, {kills} kills")
    return faults


def steps_of(shop: Workshop) -> list[str]:
    """What an undisturbed build does on the disk, step by step."""
    folder = shop.fresh("killed")
    return re.findall(r"^@(.*)$", shop.run(folder, say_steps(folder)).said, re.MULTILINE)
