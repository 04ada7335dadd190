"""The versions of the packages behind a result's numbers: written down beside it, and no part of its address."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("numpy", "torch", "torchvision", "pillow", "numba")


@cache
def versions() -> Mapping[str, str]:
    """Package -> its version, and Python's; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`torch 2.11.0, now 2.15.0` for each package of another version than before; empty where there is none."""
    return ", ".join(f"{p} {then[p]}, now {now[p]}" for p in PACKAGES if p in then and p in now and then[p] != now[p])
