"""A disk that is full, a quota that is reached, a folder that cannot be written: said, nothing lost, gone on from."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.soak.kills import start
from tests.soak.row import Row
from tests.soak.workshop import Ended, Workshop, damage_in, digest_of, leftovers_in

NOBODY = 65534
LARGE = "64m"


def fill(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """A small tmpfs that fills at a random moment; then it grows, and the build goes on."""
    row = Row("full disk: said with what is needed, whole results stand, gone on from")
    try:
        with mounted(shop, f"size={LARGE}") as folder:
            shop.run(folder)
            most = sum(p.stat().st_blocks * 512 for p in folder.rglob("*"))
    except PermissionError as e:
        row.happened = f"SKIPPED: {e}"
        return row
    ends = Counter[str]()
    while shop.more(row.tried, tries):
        size = rng.randrange(16_384, most)
        with mounted(shop, f"size={size}") as folder:
            ended = shop.run(folder, *rng.choice(((), (unforeseen,))))
            faults = refused(ended, ends) + damage_in(folder)
            mount("-o", f"remount,size={LARGE}", folder)
            row.check(f"{size} bytes", faults + gone_on(shop, folder))
    row.happened = f"tmpfs of 16 KB to {most // 1000} KB; " + ", ".join(f"{n} {what}" for what, n in ends.items())
    return row


def limit(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Quotas: of a user on a tmpfs, where this kernel has them, and of a file's size."""
    row, ends, users = Row("quotas: of a user, and of a file's size"), Counter[str](), True
    while shop.more(row.tried, tries):
        if users and row.tried % 2:
            quota = rng.randrange(16_384, 300_000)
            try:
                with mounted(shop, f"size={LARGE},usrquota,usrquota_block_hardlimit={quota},mode=777") as folder:
                    faults = refused(shop.run(folder, nobody), ends)
                    row.check(f"quota of {quota} bytes", faults + damage_in(folder))
            except PermissionError as e:
                users, row.happened = False, f"user quotas SKIPPED ({e}); "
            continue
        folder, _ = start(shop)
        faults = refused(shop.run(folder, small_files(rng.randrange(1000, 70_000))), ends)
        row.check("RLIMIT_FSIZE", faults + damage_in(folder) + gone_on(shop, folder))
    row.happened += ", ".join(f"{n} {what}" for what, n in ends.items())
    return row


def forbid(shop: Workshop, tries: int, rng: random.Random) -> Row:
    """Folders that another user may only read: refused in words, and left as they were."""
    row, ends = Row("read-only folders: refused in words, what was there stands"), Counter[str]()
    folder, _ = start(shop)
    shop.run(folder)
    within = [p for p in sorted((folder / "runs").rglob("*")) if p.is_dir() and ".locks" not in p.parts]
    while shop.more(row.tried, tries):
        shutil.rmtree(shop.root / "locked", ignore_errors=True)
        shutil.copytree(folder, shop.root / "locked")
        copy = shop.root / "locked"
        gone = rng.choice(within).relative_to(folder)  # something to be made again, where it may not be
        shutil.rmtree(copy / gone)
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = digest_of(copy)
        faults = refused(shop.run(copy, nobody), ends)
        if digest_of(copy) != before:
            faults.append("what was there has changed")
        row.check(f"without {gone}", faults)
    row.happened = ", ".join(f"{n} {what}" for what, n in ends.items())
    return row


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
    from ensemble import build

    build.check_room = lambda store, needs: None


def small_files(size: int) -> Callable[[], None]:
    """A build whose files may not grow over `size` bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def nobody() -> None:
    """Be a user without rights: root may write anywhere."""
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@contextmanager
def mounted(shop: Workshop, options: str) -> Iterator[Path]:
    """A tmpfs of its own on the folder of the tries.

    Raises:
        PermissionError: this user, or this kernel, cannot mount one so.
    """
    folder, _ = start(shop)
    mount("-t", "tmpfs", "-o", options, "soak", folder)
    try:
        yield folder
    finally:
        os.chdir(shop.root)
        subprocess.run(["umount", "-l", str(folder)], check=False)


def mount(*argv: object) -> None:
    """The command, and an error in words."""
    done = subprocess.run(["mount", *map(str, argv)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError((done.stderr.strip() or f"mount ended with {done.returncode}").splitlines()[0])
