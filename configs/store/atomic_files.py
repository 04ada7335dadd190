"""Atomic file writes, and messages for a full disk with the needed and the free size."""

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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full, quota reached, file too large
CHECK = "check"
FEW_FILES = 100  # with fewer free inodes, the message names them


class NoRoom(OSError):
    """A full disk, quota or size limit stopped a write of `needed` bytes."""

    needed: int = 0


@contextmanager
def room_for(path: Path, size: int) -> Iterator[None]:
    """Add the needed size to any disk-full error raised inside.

    Args:
        path: the file that is written.
        size: its bytes.

    Raises:
        NoRoom: the disk is full.
    """
    try:
        yield
    except OSError as e:
        short = e.errno is None and "requested and" in str(e)  # numpy.tofile's message for a short write
        if e.errno not in FULL and not short:
            raise
        told = NoRoom(e.errno or errno.ENOSPC, e.strerror or os.strerror(errno.ENOSPC), str(path))
        told.needed = size
        raise told from e


def write_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: the old content stays until the new content is on disk."""
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
    """Replace a text file atomically."""
    write_file(path, text.encode())


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as `.npy`. An array of Python objects is an error, since it would be pickled."""
    with room_for(path, array.nbytes):
        np.save(path, array, allow_pickle=False)


def clear(path: Path) -> None:
    """Remove a folder, file or link if it exists. The target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
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
    """JSON with its own SHA-256, so that damage is detected."""
    body = json.dumps(values, indent=1, sort_keys=True)
    check = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**values, CHECK: check}, indent=1, sort_keys=True) + "\n"


def check_checksum(text: str) -> dict[str, Any]:
    """Read what `with_checksum` wrote, without the checksum.

    Raises:
        ValueError: the text was changed.
    """
    try:
        values = json.loads(text)
        found = values.pop(CHECK)
        again = with_checksum(values)
    except (KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(f"not a mapping with a {CHECK!r}") from e
    if text != again or not found:
        raise ValueError("its contents do not match its SHA-256")
    return dict(values)


def disk_full_message(folder: Path, e: OSError, option: str) -> str:
    """Message: the needed size if known, the free size, and the advice to use `option`."""
    needed = f"{Path(str(e.filename)).name} takes {format_bytes(e.needed)}, " if isinstance(e, NoRoom) else ""
    if e.errno == errno.EDQUOT:
        return f"{needed}the quota of {folder} is reached; have it raised, or give another folder with {option}"
    free, disk = format_bytes(shutil.disk_usage(folder).free), os.statvfs(folder)
    if disk.f_files and disk.f_favail < FEW_FILES:  # inodes can run out before bytes do
        free += f" and {disk.f_favail:,} of {disk.f_files:,} files"
    return f"{needed}{free} are free in {folder}; make room, or give another folder with {option}"


def format_bytes(size: float) -> str:
    """512 B, 3.2 KB, 1.5 MB, 20 GB."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
