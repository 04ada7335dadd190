"""File systems of their own for the tries: a tmpfs that is small or read-only, and one with a quota."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.kills import start
from tests.soak.workshop import Workshop

LARGE = "64m"
NOBODY = 65534
BTRFS_IMAGE = 256_000_000  # bytes, of which a file in memory takes those that are written


@dataclass(frozen=True)
class Rationed:
    """A folder with a quota. first: what a build does there before it begins. lift: take the quota off."""

    folder: Path
    first: Callable[[], None]
    lift: Callable[[], None]


@contextmanager
def mounted(shop: Workshop, options: str) -> Iterator[Path]:
    """A tmpfs of its own on the folder of the tries.

    Raises:
        PermissionError: this user, or this kernel, cannot mount one so.
    """
    folder, _ = start(shop)
    command("mount", "-t", "tmpfs", "-o", options, "soak", folder)
    try:
        yield folder
    finally:
        unmount(shop, folder)


def remount(folder: Path, options: str) -> None:
    """The same tmpfs with other options."""
    command("mount", "-o", f"remount,{options}", folder)


@contextmanager
def user_quota(shop: Workshop, size: int) -> Iterator[Rationed]:
    """A tmpfs on which a user without rights has a quota of `size` bytes; root has none."""
    with mounted(shop, f"size={LARGE},usrquota,usrquota_block_hardlimit={size},mode=777") as folder:
        yield Rationed(folder, nobody, lambda: None)


@contextmanager
def group_quota(shop: Workshop, size: int) -> Iterator[Rationed]:
    """A btrfs, in a file, with a quota of `size` bytes on the folder of the tries."""
    image, volume = shop.root / "btrfs.img", shop.root / "btrfs"
    with open(image, "wb") as file:
        file.truncate(BTRFS_IMAGE)
    command("mkfs.btrfs", "-q", image)
    volume.mkdir(exist_ok=True)
    command("mount", "-o", "loop", image, volume)
    folder = volume / "tries"
    try:
        command("btrfs", "quota", "enable", volume)
        command("btrfs", "subvolume", "create", folder)
        command("btrfs", "qgroup", "limit", size, folder)
        shop.reset()
        yield Rationed(folder, lambda: None, lambda: command("btrfs", "qgroup", "limit", "none", folder))
    finally:
        unmount(shop, volume)
        image.unlink()


def quota_of(shop: Workshop) -> tuple[Callable[..., object] | None, str]:
    """What gives a folder a quota here, and what that is called; or None, and why there is none."""
    reasons = []
    for way, name in ((user_quota, "of a user on a tmpfs"), (group_quota, "of a group on a btrfs")):
        try:
            with way(shop, 1_000_000):
                return way, name
        except PermissionError as e:
            reasons.append(f"{name}: {e}")
    return None, "; ".join(reasons)


def nobody() -> None:
    """Be a user without rights: root may write anywhere."""
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def unmount(shop: Workshop, folder: Path) -> None:
    """Take it away, whoever still looks at it."""
    os.chdir(shop.root)
    subprocess.run(["umount", "-l", str(folder)], check=False)


def command(*argv: object) -> None:
    """A system's command.

    Raises:
        PermissionError: it is not there, or refuses; in its words.
    """
    try:
        done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False)
    except FileNotFoundError as e:
        raise PermissionError(f"no {argv[0]} here") from e
    if done.returncode:
        raise PermissionError((done.stderr.strip() or f"{argv[0]} ended with {done.returncode}").splitlines()[0])
