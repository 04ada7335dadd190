"""Results have addresses: `runs/<kind>/<name>-<12 hex of everything that was asked>/`.

A result is made in `.<name>-<hex>.part/` beside its place, flushed to disk, described by `manifest.json` (written last,
with the request in readable form and a SHA-256 of every file) and renamed into place. A lock per address lets two
builds at once make each thing once; the operating system drops it when its holder dies. So whatever has its final name
is whole, whatever is not was interrupted, and nothing stale can be read: another request has another address.
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
from configs.store.atomic_files import clear, flush, room, sealed, write_text
from configs.store.manifest import MANIFEST, RESUME, Address, differences, find_damage, seal, versions

Say = Callable[[str], None]
Tell = Callable[[str, Address], None]


@dataclass(frozen=True)
class Kept:
    """A result that stands: its folder, and whether this call made it."""

    path: Path
    made: bool


class NotWritable(ResultError):
    """The store may be read and not written. why: the sentence without what to do."""

    why: str = ""


def refused(why: str, what_to_do: str, e: OSError) -> ResultError:
    """What is raised where the disk refuses a result."""
    if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResultError(f"{why}; {what_to_do}")
    told = NotWritable(f"{why}; {what_to_do}")
    told.why = why
    return told


class Store:
    """A folder of results, by default `runs/`. It `tell`s what becomes of an address: kept, begun, done or stopped."""

    def __init__(
        self,
        root: Path,
        say: Say = print,
        tell: Tell = lambda what, address: None,
        made_with: Mapping[str, str] | None = None,
        checked: Collection[str] = (),
        lends: bool = False,
    ) -> None:
        """A folder that is made where it is not there.

        Args:
            made_with: what is written into each manifest beside the request, by default the versions of the packages.
            checked: keys of results that this build's main process has just found whole; they are not hashed again.
            lends: of a store that may be read and not written, what is asked and is not there is made elsewhere.
        """
        self.root, self.say, self.tell = Path(root), say, tell
        self.made_with = versions() if made_with is None else made_with
        self.checked = frozenset(checked)
        self.lends, self._told = lends, set[str]()
        self._aside: Store | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (OSError, UnicodeError) as e:
            why = e.strerror if isinstance(e, OSError) else "its name is no text"
            raise ResultError(f"{self.root}: cannot be made ({why}); give another folder with --runs") from e

    def path(self, address: Address) -> Path:
        """Where the result of this address stands, or would."""
        return self.root / address.key

    def has(self, address: Address) -> bool:
        """Whether the result is there, by its manifest; `get` and `open` also check its contents."""
        return (self.path(address) / MANIFEST).is_file()

    def get(self, address: Address, make: Callable[[Path], None], *, resume: bool = False) -> Kept:
        """The result of an address: kept if it is there and whole, else made by `make(folder)`.

        Where `lends` and the store cannot be written, a result that is not there goes with this object.

        Args:
            address: what is asked.
            make: writes its files into the folder it is given. With `resume` it may find its own earlier files there.
            resume: an interrupted attempt that left a folder `resume/` is handed back to `make`.

        Raises:
            ResultError: the disk refuses (full, read-only); what was there before still stands.
        """
        path = self.path(address)
        if address.key in self.checked:
            return Kept(path, made=False)
        try:
            return self._keep(path, address, make, resume)
        except NotWritable as e:
            if not self.lends:
                raise
            if path.exists() and find_damage(path, address) is None:
                return Kept(path, made=False)
            self._say_once(f"note: {e.why}, so what is made anew is not kept there")
        if self._aside is None:
            self._folder = TemporaryDirectory(prefix="reid-")
            self._aside = Store(Path(self._folder.name), self.say, self.tell, self.made_with)
        return self._aside.get(address, make, resume=resume)

    def _say_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.say(text)

    def _keep(self, path: Path, address: Address, make: Callable[[Path], None], resume: bool) -> Kept:
        with self._locked(address):
            if path.exists():
                damage = find_damage(path, address)
                if damage is None:
                    shutil.rmtree(path / RESUME, ignore_errors=True)  # of a run killed between its last two steps
                    self._tell_packages(path)
                    self.tell("kept", address)
                    return Kept(path, made=False)
                self.say(f"{path}: {damage}; making it again")
            self.tell("begun", address)
            try:
                self._make(address, make, resume)
            except OSError as e:
                if e.filename is not None and self.root.absolute() not in Path(e.filename).absolute().parents:
                    raise  # not the store's: a file that `make` wanted to read
                raise refused(f"{path}: cannot be written ({e.strerror or e})", room(self.root, e, "--runs"), e) from e
        self.tell("done", address)
        return Kept(path, made=True)

    def _tell_packages(self, path: Path) -> None:
        """Say once which packages have other versions than those a kept result was made with."""
        then = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["made_with"]
        told = differences(then, self.made_with)
        if told and told not in self._told:
            self._told.add(told)
            self.say(f"note: {path} is kept, though made with {told}; remove its folder to make it anew")

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
            try:
                with self._lock(part.parent.name, part.name[1:].removesuffix(".part")).acquire(timeout=0):
                    clear(part)
                    swept.append(part)
            except (Timeout, OSError):  # at work on, or a disk that can only be read: it is no harm there
                continue
        return swept

    def remove(self, path: Path) -> bool:
        """Remove a result, or what an interrupted run left of one; False where somebody is at work on it."""
        name = path.name.removeprefix(".").removesuffix(".part")
        try:
            with self._lock(path.parent.name, name).acquire(timeout=0):
                gone = path.with_name(f".{name}.gone.part")  # in one step: half a result is never there
                os.replace(path, gone)
                shutil.rmtree(gone / RESUME, ignore_errors=True)  # first: without it a sweep takes the rest
                clear(gone)
        except Timeout:
            return False
        except OSError as e:
            raise ResultError(f"{path}: cannot be removed ({e.strerror or e})") from e
        return True

    def point_at(self, name: str, values: Mapping[str, Any]) -> None:
        """Replace a small file at the store's root, such as which build is the last.

        Raises:
            ResultError: the disk refuses; the old file still stands.
        """
        try:
            with self._lock("pointers", name):  # one writer at a time, so what is left of another was killed
                for torn in self.root.glob(f".{name}.*.part"):
                    torn.unlink()
                write_text(self.root / name, sealed(values))
        except OSError as e:
            told = f"{self.root / name}: cannot be written ({e.strerror or e})"
            raise ResultError(f"{told}; {room(self.root, e, '--runs')}") from e

    def _lock(self, kind: str, name: str) -> FileLock:
        """One lock an address. Its file stays, empty; the system drops the lock with its holder."""
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
