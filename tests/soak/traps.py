"""Traps that a forked build is sent out with: it ends, or is hurt, at the n-th step that it makes on the disk."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}  # and opening to write, and fsync
POINTS = (  # the first that fits names a step
    ("in a checkpoint", r"members/.*resume"),
    ("in a shard of features", r"features/.*resume"),
    ("between arrays and manifest", r"manifest\.json"),
    ("in the rename", r"^os\.rename [^ ]*\.part$"),
    ("in the submission", r"submission|scores"),
    ("in training", r"members"),
    ("in extraction", r"features"),
    ("in neighbours", r"neighbours"),
    ("in the ranking", r"rankings"),
    ("in the images", r"images"),
    ("in the record", r"builds|last\.json"),
    ("elsewhere", r""),
)


def point_of(step: str) -> str:
    """The name of the place where a step lies."""
    return next(name for name, pattern in POINTS if re.search(pattern, step))


def watch(folder: Path, met: Callable[[str], None]) -> None:
    """Call `met` before each step that this process makes below `folder`; an fsync is one before and one after.

    Steps of the log and of the lock files count for nothing: they hold no result.
    """
    root = str(folder)

    def tell(event: str, path: object) -> None:
        name = os.path.abspath(os.fsdecode(path)) if isinstance(path, str | bytes | os.PathLike) else ""
        if name.startswith(root + "/") and not name.startswith((f"{root}/runs/logs", f"{root}/runs/.locks")):
            met(f"{event} {re.sub(r'-[0-9a-f]{12,64}|[.][0-9]+(?=[.]part)', '', os.path.relpath(name, root))}")

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in STEPS:
            tell(event, args[0])
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            tell("open", args[0])

    def fsync(handle: int, real: Callable[[int], None] = os.fsync) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        tell("fsync", path)
        real(handle)
        tell("fsynced", path)

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(hook)


def say_steps(folder: Path) -> Callable[[], None]:
    """A build that says each step on a line of its own, after an @."""
    return lambda: watch(folder, lambda step: os.write(2, f"\n@{step}\n".encode()))


def at_step(folder: Path, n: int, act: Callable[[], None]) -> Callable[[], None]:
    """A build to which something happens before its n-th step, from 1."""

    def arm() -> None:
        left = n

        def met(step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                act()

        watch(folder, met)

    return arm


def die() -> None:
    """The end, as the system makes it."""
    os.kill(os.getpid(), signal.SIGKILL)


def tear(size: int) -> Callable[[], None]:
    """From here on no file grows over `size` bytes: whatever writes further dies in the middle of it."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    return limit
