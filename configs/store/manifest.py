"""A result's address, and its `manifest.json` with the request and the SHA-256 of every file."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from configs.store.atomic_files import check_checksum, file_digest, flush, with_checksum, write_text
from configs.store.code_version import code_files

MANIFEST = "manifest.json"
RESUME = "resume"  # folder of a part folder with data to resume from. It is not part of the result, and is removed last
PACKAGES = ("numpy", "torch", "torchvision", "pillow", "numba")


@dataclass(frozen=True)
class Address:
    """A cache key: a kind of result, a readable name, and the full request as JSON values."""

    kind: str
    name: str
    request: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """12 hex digits of the SHA-256 of the request."""
        text = json.dumps(self.request, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def key(self) -> str:
        """The result's folder, relative to the store."""
        return f"{self.kind}/{self.name}-{self.digest}"


def seal(folder: Path, address: Address, made_with: Mapping[str, str] | None = None) -> None:
    """Flush every file, then write the manifest."""
    files = {name: file_digest(folder / name) for name in _contents(folder)}
    for name in files:
        flush(folder / name)
    manifest = {
        "kind": address.kind,
        "name": address.name,
        "request": address.request,
        "code_files": code_files(address.request),
        "made_with": made_with or {},
        "sha256": files,
    }
    write_text(folder / MANIFEST, with_checksum(manifest))
    for inner in sorted({(folder / name).parent for name in files} - {folder}):
        flush(inner)
    flush(folder)


def find_damage(path: Path, address: Address | None = None) -> str | None:
    """What is wrong with a cached result, as text, or None. Every file is hashed and compared with the manifest."""
    try:
        manifest = check_checksum((path / MANIFEST).read_text(encoding="utf-8"))
        listed = dict(manifest["sha256"])
        written = Address(manifest["kind"], manifest["name"], manifest["request"])
        folder = f"{written.name}-{written.digest}"
    except OSError:
        return "has no manifest"
    except (ValueError, KeyError, TypeError) as e:
        return f"its manifest cannot be read, or was changed ({' '.join(str(e).split())[:100]})"
    if (path.parent.name, path.name) != (written.kind, folder) or (address and written.key != address.key):
        return "its manifest is of another request"
    there = set(_contents(path))
    for name in sorted(there ^ set(listed)):
        return f"{name} is {'not in the manifest' if name in there else 'missing'}"
    for name, digest in listed.items():
        try:
            if file_digest(path / name) != digest:
                return f"{name} is damaged (its SHA-256 differs from the manifest's)"
        except OSError as e:
            return f"{name} cannot be read ({e.strerror})"
    return None


def _contents(folder: Path) -> list[str]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [n for n in names if n != MANIFEST and not n.startswith(f"{RESUME}/")]


@cache
def versions() -> Mapping[str, str]:
    """Package -> version, Python included. Nothing is imported."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """`torch 2.11.0, now 2.15.0` for each package whose version changed; empty if none did."""
    return ", ".join(f"{p} {then[p]}, now {now[p]}" for p in PACKAGES if p in then and p in now and then[p] != now[p])
