"""Files that are whole or not there, and a disk that refuses: said with what was needed and what is free."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room, a quota reached, a file larger than may be
CHECK = "check"
FEW_FILES = 100  # left on a disk, which are then said


class NoRoom(OSError):
    """A file for which the disk, a quota or a limit leaves no room; `needed` bytes were to be written."""

    needed: int = 0


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Whatever says inside that there is no room says how much was needed.

    Args:
        path: what is written. size: of it, in bytes.

    Raises:
        NoRoom: there was none.
    """
    try:
        yield
    except OSError as e:
        short = e.errno is None and "requested and" in str(e)  # numpy.tofile tells a short write in its own words
        if e.errno not in FULL and not short:
            raise
        told = NoRoom(e.errno or errno.ENOSPC, e.strerror or os.strerror(errno.ENOSPC), str(path))
        told.needed = size
        raise told from e


def write_file(path: Path, content: bytes) -> None:
    """Replace a file in one step: the old content stands until the new is on disk."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with room_for(path, len(content)), open(part, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step."""
    write_file(path, text.encode())


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy`; one of Python objects, which would be a pickle, is refused."""
    with room_for(path, array.nbytes):
        np.save(path, array, allow_pickle=False)


def clear(path: Path) -> None:
    """Remove a folder, a file or a link, if it is there; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Put a file, or the names in a folder, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def with_checksum(values: Mapping[str, Any]) -> str:
    """JSON that holds its own SHA-256, so that a flipped bit in it is found."""
    body = json.dumps(values, indent=1, sort_keys=True)
    check = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**values, CHECK: check}, indent=1, sort_keys=True) + "\n"


def check_checksum(text: str) -> dict[str, Any]:
    """What `with_checksum` wrote, without its check.

    Raises:
        ValueError: it is not exactly what was written.
    """
    try:
        values = json.loads(text)
        found = values.pop(CHECK)
        again = with_checksum(values)
    except (KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"not a mapping with a {CHECK!r}") from e
    if text != again or not found:
        raise ValueError("its contents are not those of its SHA-256")
    return dict(values)


def disk_full_message(folder: Path, e: OSError, option: str) -> str:
    """What was needed, as far as it is known, what is free, and what to do; the option names another folder."""
    needed = f"{Path(str(e.filename)).name} takes {format_bytes(e.needed)}, " if isinstance(e, NoRoom) else ""
    if e.errno == errno.EDQUOT:
        return f"{needed}a quota is reached in {folder}; have it raised, or give another folder with {option}"
    free, disk = format_bytes(shutil.disk_usage(folder).free), os.statvfs(folder)
    if disk.f_files and disk.f_favail < FEW_FILES:  # bytes may be left where names are not
        free += f" and {disk.f_favail:,} of {disk.f_files:,} files"
    return f"{needed}{free} are free in {folder}; make room, or give another folder with {option}"


def format_bytes(size: float) -> str:
    """512 B, 3.2 KB, 1.5 MB, 20 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
