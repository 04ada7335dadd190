"""Results have addresses: `runs/<kind>/<name>-<12 hex of everything that was asked>/`.

A result is made in `.<name>-<hex>.part/` beside its place, flushed to disk, described by `manifest.json` (written last,
with the request in readable form and a SHA-256 of every file) and renamed into place. A lock per address lets two
builds at once make each thing once; the operating system drops it when its holder dies. So whatever has its final name
is whole, whatever is not was interrupted, and nothing stale can be read: another request has another address.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from configs.errors import ResultError
from configs.version import code_files

MANIFEST = "manifest.json"
RESUME = "resume"  # a folder in a part folder: work to go on with. It is no part of the result, and goes last


@dataclass(frozen=True)
class Address:
    """What was asked: a kind of result, a readable name, and the whole request as JSON values."""

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
        """The folder, relative to the store."""
        return f"{self.kind}/{self.name}-{self.digest}"


Say = Callable[[str], None]
Tell = Callable[[str, Address], None]


@dataclass(frozen=True)
class Kept:
    """A result that stands: its folder, and whether this call made it."""

    path: Path
    made: bool


class Store:
    """A folder of results, by default `runs/`. It `tell`s what becomes of an address: kept, begun, done or stopped."""

    def __init__(self, root: Path, say: Say = print, tell: Tell = lambda what, address: None) -> None:
        self.root, self.say, self.tell = Path(root), say, tell
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ResultError(f"{self.root}: cannot be made ({e.strerror}); give another folder with --out") from e

    def path(self, address: Address) -> Path:
        """Where the result of this address stands, or would."""
        return self.root / address.key

    def has(self, address: Address) -> bool:
        """Whether the result is there, by its manifest; `get` and `open` also check its contents."""
        return (self.path(address) / MANIFEST).is_file()

    def get(self, address: Address, make: Callable[[Path], None], *, resume: bool = False) -> Kept:
        """The result of an address: kept if it is there and whole, else made by `make(folder)`.

        Args:
            address: what is asked.
            make: writes its files into the folder it is given. With `resume` it may find its own earlier files there.
            resume: an interrupted attempt that left a folder `resume/` is handed back to `make`.

        Raises:
            ResultError: the disk refuses (full, read-only); what was there before still stands.
        """
        path = self.path(address)
        with self._locked(address):
            if path.exists():
                damage = find_damage(path, address)
                if damage is None:
                    shutil.rmtree(path / RESUME, ignore_errors=True)  # of a run killed between its last two steps
                    self.tell("kept", address)
                    return Kept(path, made=False)
                self.say(f"{path}: {damage}; making it again")
            self.tell("begun", address)
            try:
                self._make(address, make, resume)
            except OSError as e:
                if e.filename is not None and self.root.absolute() not in Path(e.filename).absolute().parents:
                    raise  # not the store's: a file that `make` wanted to read
                raise ResultError(f"{path}: cannot be written ({e.strerror or e}). {_room(self.root)}") from e
        self.tell("done", address)
        return Kept(path, made=True)

    def _make(self, address: Address, make: Callable[[Path], None], resume: bool) -> None:
        path = self.path(address)
        part = path.with_name(f".{path.name}.part")
        if part.exists() and not (resume and (part / RESUME).exists()):
            shutil.rmtree(part)
        part.mkdir(parents=True, exist_ok=True)
        for torn in part.rglob(".*.part"):  # files that the interrupted attempt was writing
            torn.unlink()
        try:
            make(part)
            seal(part, address)
        except BaseException:
            self.tell("stopped", address)
            if not (part / RESUME).exists():
                shutil.rmtree(part, ignore_errors=True)
            raise
        if path.exists():
            shutil.rmtree(path)
        os.replace(part, path)
        _flush(path.parent)
        shutil.rmtree(path / RESUME, ignore_errors=True)

    def open(self, key: str) -> Path:
        """The folder of a kept result by its key (`features/r50-0123456789ab`), every file checked.

        Raises:
            ResultError: it is not there, or it is damaged.
        """
        path = self.root / key
        damage = find_damage(path) if path.exists() else "is not there"
        if damage:
            raise ResultError(f"{path}: {damage}. Run the build again; it makes what is missing and keeps the rest")
        return path

    def sweep(self) -> list[Path]:
        """Remove what killed runs left half-made, unless it can be resumed or somebody is at work on it."""
        swept = []
        for part in sorted(self.root.glob("*/.*.part")):
            if (part / RESUME).exists():
                continue
            lock = FileLock(self._lock_file(part.parent.name, part.name[1:].removesuffix(".part")))
            try:
                with lock.acquire(timeout=0):
                    shutil.rmtree(part, ignore_errors=True)
                    swept.append(part)
            except Timeout:
                continue
        return swept

    def _lock_file(self, kind: str, name: str) -> Path:
        folder = self.root / ".locks"
        folder.mkdir(exist_ok=True)
        return folder / f"{kind}-{name}.lock"

    @contextmanager
    def _locked(self, address: Address) -> Iterator[None]:
        try:
            lock = FileLock(self._lock_file(address.kind, self.path(address).name))
            try:
                lock.acquire(timeout=1)
            except Timeout:
                self.say(f"{address.key}: another process is making it; waiting")
                lock.acquire()
        except OSError as e:
            raise ResultError(
                f"{self.root}: its lock files cannot be written ({e.strerror or e}); give another folder with --out"
            ) from e
        try:
            yield
        finally:
            lock.release()


def seal(folder: Path, address: Address) -> None:
    """Flush every file, then write the manifest, last."""
    files = {name: file_digest(folder / name) for name in _contents(folder)}
    for name in files:
        _flush(folder / name)
    manifest = {"kind": address.kind, "name": address.name, "request": address.request, "sha256": files}
    manifest["code_files"] = code_files(address.request)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    _flush(folder)


def find_damage(path: Path, address: Address | None = None) -> str | None:
    """What is wrong with a kept result, in words, or None: every file is hashed and held against the manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        listed = dict(manifest["sha256"])
        written = Address(manifest["kind"], manifest["name"], manifest["request"])
        folder = f"{written.name}-{written.digest}"
    except OSError:
        return "has no manifest"
    except (ValueError, KeyError, TypeError):
        return "its manifest cannot be read"
    if (path.parent.name, path.name) != (written.kind, folder) or (address and written.key != address.key):
        return "its manifest is of another request"
    there = set(_contents(path))
    for name in sorted(there ^ set(listed)):
        return f"{name} is {'not in the manifest' if name in there else 'missing'}"
    for name, digest in listed.items():
        if file_digest(path / name) != digest:
            return f"{name} is damaged (its SHA-256 is not the manifest's)"
    return None


def _contents(folder: Path) -> list[str]:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [n for n in names if n != MANIFEST and not n.startswith(f"{RESUME}/")]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: the old content stands until the new is on disk."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8") as f:
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _room(root: Path) -> str:
    free = shutil.disk_usage(root).free
    return f"{free / 1e6:,.0f} MB are free in {root}; make room, or give another folder with --out"
