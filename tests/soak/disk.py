"""A disk that is full, a quota that is reached, a folder that cannot be written: said, nothing lost, gone on from."""

from __future__ import annotations

import random
import re
import resource
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.soak.kills import start
from tests.soak.mounts import LARGE, mounted, nobody, quota_of, remount
from tests.soak.row import Row
from tests.soak.workshop import Ended, Workshop, damage_in, digest_of, leftovers_in

SMALLEST = 16_384


def fill(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """A small tmpfs that fills at a random moment, with bytes or with names; then it grows, and the build goes on."""
    row = Row("full disk: said with what is needed, whole results stand, gone on from")
    try:
        with mounted(shop, f"size={LARGE}") as folder:
            shop.run(folder)
            written = [folder, *folder.rglob("*")]
            most, names = sum(p.stat().st_blocks * 512 for p in written), len(written)
    except PermissionError as e:
        row.happened = f"SKIPPED: {e}"
        return row
    ends = Counter[str]()
    while shop.more(row.tried, tries):
        few_names = row.tried % 4 == 3
        size, count = rng.randrange(SMALLEST, most), rng.randrange(2, names)
        with mounted(shop, f"size={LARGE},nr_inodes={count}" if few_names else f"size={size}") as folder:
            ended = shop.run(folder, *rng.choice(((), (unforeseen,))))
            faults = refused(ended, ends) + damage_in(folder)
            remount(folder, f"size={LARGE},nr_inodes=0")
            row.check(f"{count} names" if few_names else f"{size} bytes", faults + gone_on(shop, folder))
    row.happened = f"tmpfs of 16 KB to {most // 1000} KB, or of 2 to {names} names; {counted(ends)}"
    return row


def limit(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Quotas of a folder, where this machine has a file system with them, and of a file's size."""
    row, ends = Row("quotas: of a folder, and of a file's size"), Counter[str]()
    rationed, name = quota_of(shop)
    while shop.more(row.tried, tries):
        if rationed and row.tried % 2:
            size = rng.randrange(65_536, 600_000)
            with rationed(shop, size) as ration:
                faults = refused(shop.run(ration.folder, ration.first), ends) + damage_in(ration.folder)
                ration.lift()
                row.check(f"quota of {size} bytes", faults + gone_on(shop, ration.folder))
            continue
        folder, _ = start(shop)
        faults = refused(shop.run(folder, small_files(rng.randrange(1000, 70_000))), ends)
        row.check("RLIMIT_FSIZE", faults + damage_in(folder) + gone_on(shop, folder))
    row.happened = f"{name if rationed else f'SKIPPED: {name}'}; {counted(ends)}"
    return row


def forbid(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Folders that another user may only read, and a mount that nobody may write: refused, and left as they were."""
    row, ends = Row("read-only folders and mounts: refused in words, what was there stands"), Counter[str]()
    folder, _ = start(shop)
    shop.run(folder)
    sound = shop.root / "sound"
    shutil.copytree(folder, sound)
    within = [p for p in sorted((sound / "runs").rglob("*")) if p.is_dir() and ".locks" not in p.parts]
    while shop.more(row.tried, tries):
        gone = rng.choice(within).relative_to(sound)  # something to be made again, where it may not be
        way = (locked, mounted_to_read)[row.tried % 2]
        try:
            with way(shop, sound, gone) as (copy, first):
                before = digest_of(copy)
                faults = refused(shop.run(copy, first), ends)
                faults += ["what was there has changed"] if digest_of(copy) != before else []
        except PermissionError as e:
            ends[f"SKIPPED: {e}"] += 1
            faults = []
        row.check(f"{way.__name__} without {gone}", faults)
    shutil.rmtree(sound)
    row.happened = counted(ends)
    return row


@contextmanager
def locked(shop: Workshop, sound: Path, gone: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A copy without `gone` that others may only read, and what makes a build another's."""
    copy = shop.fresh("locked")
    shutil.copytree(sound, copy, dirs_exist_ok=True)
    shutil.rmtree(copy / gone)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield copy, nobody


@contextmanager
def mounted_to_read(shop: Workshop, sound: Path, gone: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A copy without `gone` on a tmpfs that is mounted to read: root may not write it either."""
    with mounted(shop, f"size={LARGE}") as copy:
        shutil.copytree(sound, copy, dirs_exist_ok=True)
        shutil.rmtree(copy / gone)
        remount(copy, "ro")
        yield copy, lambda: None


def refused(ended: Ended, ends: Counter[str]) -> list[str]:
    """What is wrong with how a build met a disk that refuses: wanted are status 2, a sentence and no traceback."""
    if ended.status == 0:
        ends["had room enough"] += 1
        return []
    told = [line for line in ended.said.splitlines() if line.startswith("error: ")]
    if ended.status != 2 or len(told) != 1 or "Traceback" in ended.said:
        return [f"ended with {ended.status}: {ended.said[-700:]}"]
    if re.search(r"this build needs .+ and .+ are free", told[0]):
        ends["refused before it began, with what is needed"] += 1
        return []
    reason = re.search(r"No space left|Disk quota|File too large|Permission denied|Read-only", told[0])
    needed = "takes" in told[0]
    ends[f"{reason[0] if reason else told[0]}{', with what was needed' if needed else ''}"] += 1
    return [] if reason else [told[0]]


def gone_on(shop: Workshop, folder: Path) -> list[str]:
    """What is wrong once there is room again."""
    ended = shop.run(folder)
    faults = [f"then it ended with {ended.status}: {ended.said[-500:]}"] if ended.status else []
    if not ended.status and digest_of(folder) != shop.digest:
        faults.append(f"then digest {digest_of(folder)}")
    return faults + leftovers_in(folder)


def unforeseen() -> None:
    """A build that does not ask beforehand whether it will fit: somebody else fills the disk meanwhile."""
    from ensemble import carry_out

    carry_out.check_room = lambda store, needs: None


def small_files(size: int) -> Callable[[], None]:
    """A build whose files may not grow over `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def counted(ends: Counter[str]) -> str:
    """3 of this, 2 of that."""
    return ", ".join(f"{n} {what}" for what, n in ends.items())
