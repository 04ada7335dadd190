"""A cache of results on disk. A result's folder is `runs/<kind>/<name>-<12 hex digits of the request>/`.

A result is made in `.<name>-<hex>.part/`, flushed to disk and renamed. `manifest.json` is written last; it has the
request and the SHA-256 of every file.
There is one lock per address, so two builds at once make each result once. The operating system frees the lock of a
process that dies.
So a result with its final name is complete, and a part folder was interrupted. Another request has another address, so
no stale result can be read.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from configs.errors import ResultError
from configs.store.atomic_files import clear, disk_full_message, flush, with_checksum, write_text
from configs.store.manifest import MANIFEST, RESUME, Address, differences, find_damage, seal, versions

Say = Callable[[str], None]
Tell = Callable[[str, Address], None]


@dataclass(frozen=True)
class StoredResult:
    """A complete result: its folder, and whether this call made it."""

    path: Path
    made: bool


class NotWritable(ResultError):
    """The store is read-only. why: the message without advice."""

    why: str = ""


def refused(why: str, what_to_do: str, e: OSError) -> ResultError:
    """The error for a result that cannot be written."""
    if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResultError(f"{why}; {what_to_do}")
    told = NotWritable(f"{why}; {what_to_do}")
    told.why = why
    return told


class Store:
    """A folder of results, by default `runs/`. `tell` receives each address's state: kept, begun, done or stopped."""

    def __init__(
        self,
        root: Path,
        say: Say = print,
        tell: Tell = lambda what, address: None,
        made_with: Mapping[str, str] | None = None,
        checked: Collection[str] = (),
        lends: bool = False,
    ) -> None:
        """Open the folder; create it if it does not exist.

        Args:
            root: the folder.
            say: receives messages.
            tell: receives an address's state and the address.
            made_with: versions that manifests record; default: of the packages.
            checked: keys of results that the main process has just verified; they are not hashed again.
            lends: for a read-only store, make missing results in a temporary folder.
        """
        self.root = Path(root)
        self.say = say
        self.tell = tell
        self.made_with = versions() if made_with is None else made_with
        self.checked = frozenset(checked)
        self.lends, self._told = lends, set[str]()
        self._aside: Store | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (OSError, UnicodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "its name is not text"
            raise ResultError(f"{self.root}: cannot be created ({why}); give another folder with --runs") from e

    def path(self, address: Address) -> Path:
        """The folder of this address's result, which may not exist."""
        return self.root / address.key

    def has(self, address: Address) -> bool:
        """Whether the result has a manifest. `get` and `open` also check its contents."""
        return (self.path(address) / MANIFEST).is_file()

    def get(self, address: Address, make: Callable[[Path], None], *, resume: bool = False) -> StoredResult:
        """The result of an address: the cached one if it is undamaged, else a new one from `make(folder)`.

        With `lends`, a result that a read-only store lacks is temporary: it is removed with this object.

        Args:
            address: the request.
            make: writes its files into the given folder. With `resume` it may find its own earlier files there.
            resume: pass the folder of an interrupted attempt that left `resume/` to `make`.

        Raises:
            ResultError: the disk is full or read-only. What was there before is unchanged.
        """
        path = self.path(address)
        if address.key in self.checked:
            return StoredResult(path, made=False)
        try:
            return self._keep(path, address, make, resume)
        except NotWritable as e:
            if not self.lends:
                raise
            if path.exists() and find_damage(path, address) is None:
                return StoredResult(path, made=False)
            self._say_once(f"note: {e.why}, so new results are not saved there")
        if self._aside is None:
            self._folder = TemporaryDirectory(prefix="reid-")
            self._aside = Store(Path(self._folder.name), self.say, self.tell, self.made_with)
        return self._aside.get(address, make, resume=resume)

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.say(text)

    def _keep(self, path: Path, address: Address, make: Callable[[Path], None], resume: bool) -> StoredResult:
        with self._locked(address):
            if path.exists():
                damage = find_damage(path, address)
                if damage is None:
                    shutil.rmtree(path / RESUME, ignore_errors=True)  # from a run killed between its last two steps
                    self._tell_packages(path)
                    self.tell("kept", address)
                    return StoredResult(path, made=False)
                self.say(f"{path}: {damage}; rebuilding it")
            self.tell("begun", address)
            try:
                self._make(address, make, resume)
            except OSError as e:
                if e.filename is not None and self.root.absolute() not in Path(e.filename).absolute().parents:
                    raise  # an error of `make`, reading a file outside the store
                raise refused(
                    f"{path}: cannot be written ({e.strerror or e})", disk_full_message(self.root, e, "--runs"), e
                ) from e
        self.tell("done", address)
        return StoredResult(path, made=True)

    def _tell_packages(self, path: Path) -> None:
        """Report once which packages have other versions than a cached result was made with."""
        then = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["made_with"]
        told = differences(then, self.made_with)
        if told and told not in self._told:
            self._told.add(told)
            self.say(f"note: {path} is reused, though made with {told}; remove its folder to rebuild it")

    def _make(self, address: Address, make: Callable[[Path], None], resume: bool) -> None:
        path = self.path(address)
        part = path.with_name(f".{path.name}.part")
        if os.path.lexists(part) and not (resume and (part / RESUME).exists()):
            clear(part)
        part.mkdir(parents=True, exist_ok=True)
        for torn in part.rglob(".*.part"):  # files that the interrupted attempt was writing
            torn.unlink()
        try:
            make(part)
            seal(part, address, self.made_with)
        except BaseException:
            self.tell("stopped", address)
            if not (part / RESUME).exists():
                shutil.rmtree(part, ignore_errors=True)
            raise
        clear(path)
        os.replace(part, path)
        flush(path.parent)
        shutil.rmtree(path / RESUME, ignore_errors=True)

    def open(self, key: str) -> Path:
        """The folder of a cached result by its key (`features/r50-0123456789ab`). Every file is checked.

        Raises:
            ResultError: it does not exist, or is damaged.
        """
        path = self.root / key
        damage = find_damage(path) if path.exists() else "does not exist"
        if damage:
            raise ResultError(f"{path}: {damage}. Run the build again; it makes only what is missing")
        return path

    def sweep(self) -> list[Path]:
        """Remove unfinished results of killed runs, unless they can be resumed or a process is making them."""
        swept = []
        for part in sorted(self.root.glob("*/.*.part")):
            if (part / RESUME).exists():
                continue
            try:
                with self._lock(part.parent.name, part.name[1:].removesuffix(".part")).acquire(timeout=0):
                    clear(part)
                    swept.append(part)
            except (Timeout, OSError):  # a process is making it, or the disk is read-only
                continue
        return swept

    def remove(self, path: Path) -> bool:
        """Remove a result, finished or not; False if a process is making it."""
        name = path.name.removeprefix(".").removesuffix(".part")
        try:
            with self._lock(path.parent.name, name).acquire(timeout=0):
                gone = path.with_name(f".{name}.gone.part")  # one rename: no half of a result is ever visible
                os.replace(path, gone)
                shutil.rmtree(gone / RESUME, ignore_errors=True)  # first: a sweep removes what has no resume folder
                clear(gone)
        except Timeout:
            return False
        except OSError as e:
            raise ResultError(f"{path}: cannot be removed ({e.strerror or e})") from e
        return True

    def point_at(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace a small file at the store's root, such as the pointer to the last build.

        Raises:
            ResultError: it cannot be written. The old file is unchanged.
        """
        try:
            with self._lock("pointers", name):  # one writer at a time: other part files are from killed writers
                for torn in self.root.glob(f".{name}.*.part"):
                    torn.unlink()
                write_text(self.root / name, with_checksum(values))
        except OSError as e:
            told = f"{self.root / name}: cannot be written ({e.strerror or e})"
            raise ResultError(f"{told}; {disk_full_message(self.root, e, '--runs')}") from e

    def _lock(self, kind: str, name: str) -> FileLock:
        """The lock of an address. Its empty file stays; the system frees the lock when its process ends."""
        folder = self.root / ".locks"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / f"{kind}-{name}.lock", mode=0o666)  # and the umask

    @contextmanager
    def _locked(self, address: Address) -> Iterator[None]:
        try:
            lock = self._lock(address.kind, self.path(address).name)
            try:
                lock.acquire(timeout=1)
            except Timeout:
                self.say(f"{address.key}: another process is making it; waiting")
                lock.acquire()
        except OSError as e:
            why = f"{self.root}: its lock files cannot be written ({e.strerror or e})"
            raise refused(why, "give another folder with --runs", e) from e
        try:
            yield
        finally:
            lock.release()
