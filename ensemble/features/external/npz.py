"""Read arrays of a `.npz`, only if their sizes match their headers and their compression ratio is plausible."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from configs.errors import DataError

LARGE, SWELL = 64 << 20, 100  # above LARGE bytes, unpacking to SWELL times the size is a zip bomb
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: Path, wanted: Collection[str], want: str) -> dict[str, NDArray[Any]]:
    """The arrays among these names that the file has.

    Raises:
        DataError: the file is not a zip of arrays, a size does not match its header, or it is a zip bomb.
        OSError, ValueError and errors of `zipfile`: damaged bytes.
    """
    with open(path, "rb") as file:
        begins = file.read(len(npy.MAGIC_PREFIX))
    if begins == npy.MAGIC_PREFIX:
        raise DataError(f"{path}: one bare array; {want}")
    if begins[:1] == b"\x80":
        raise DataError(f"{path}: a pickle in spite of its name; Python objects are never unpickled. {want}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: cannot be read: it is not a zip of arrays, in spite of its name; {want}")
    with zipfile.ZipFile(path) as archive:
        inside = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        return {key: _array(path, archive, info) for key, info in inside.items() if key in wanted}


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    where = f"{path}, {info.filename}"
    if info.file_size > max(LARGE, SWELL * info.compress_size):
        swell = f"{info.compress_size:,} bytes that would unpack to {info.file_size:,}"
        raise DataError(f"{where}: {swell}; features never shrink so much, so it is not read")
    with archive.open(info) as file:
        _check_size(where, file, info.file_size)
    with archive.open(info) as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array


def _check_size(where: str, file: IO[bytes], size: int) -> None:
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise DataError(f"{where}: an array of format {version}; np.savez of plain arrays writes 1.0")
    shape, _, dtype = HEADERS[version](file)
    said = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and file.tell() + said != size:
        raise DataError(f"{where}: claims {dtype} of shape {shape}, {said:,} bytes, but has {size - file.tell():,}")
