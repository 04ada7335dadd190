"""Several builds at once on one folder, some of them killed: each thing is made once, and all agree."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.soak.kills import start
from tests.soak.row import Row
from tests.soak.workshop import Workshop, damage_in, digest_of, leftovers_in

AT_ONCE, KILLED = 8, 3


def crowd(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Eight processes, three of them killed at random moments."""
    row, made, ends = Row(f"{AT_ONCE} builds at once on one folder, {KILLED} killed"), Counter[int](), Counter[str]()
    while shop.more(row.tried, tries):
        folder, _ = start(shop)
        (folder.parent / "made.txt").unlink(missing_ok=True)
        children = [shop.fork(folder, note_what_is_made(folder)) for _ in range(AT_ONCE)]
        for pid in sorted(rng.sample([pid for pid, _ in children], KILLED)):
            time.sleep(rng.uniform(0, shop.seconds))
            os.kill(pid, signal.SIGKILL)
        faults = []
        for child in children:
            ended = shop.wait(child)
            ends["killed" if ended.status < 0 else "done"] += 1
            if ended.status not in (0, -signal.SIGKILL):
                faults.append(f"ended with {ended.status}: {ended.said[-500:]}")
        last = shop.run(folder, note_what_is_made(folder))  # all eight may have been killed or done: one more agrees
        if last.status or digest_of(folder) != shop.digest:
            faults.append(f"the last ended with {last.status}, digest {digest_of(folder)}: {last.said[-500:]}")
        counts = Counter((folder.parent / "made.txt").read_text().split())
        faults += [f"{key} was made {count} times" for key, count in counts.items() if count > 1]
        made[len(counts)] += 1
        row.check(f"crowd {row.tried}", faults + damage_in(folder) + leftovers_in(folder))
    row.happened = ", ".join(f"{count} {end}" for end, count in ends.items()) + f"; results made: {sorted(made)}"
    return row


def note_what_is_made(folder: Path) -> Callable[[], None]:
    """A build that writes the key of each result into a common file once it stands."""
    notes = folder.parent / "made.txt"

    def arm() -> None:
        from configs.store.store import Store

        real = Store._make

        def make(self, address, *rest):  # type: ignore[no-untyped-def]
            real(self, address, *rest)
            with open(notes, "a", encoding="utf-8") as file:
                file.write(f"{address.key}\n")

        Store._make = make  # type: ignore[method-assign]

    return arm
