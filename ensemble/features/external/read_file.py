"""Read external features and names: `.npz`, safetensors, MATLAB's `.mat`, or a folder of `.npy`.

All forms use the same array names: `names` (N,) and `feats` (N, D), queries and gallery together; or `query_names`,
`query`, `gallery_names`, `gallery`.
safetensors cannot hold text: its metadata holds the names as JSON lists.
layumi's `pytorch_result.mat` (Person_reID_baseline_pytorch, test.py) has `query_f`, `query_label`, `query_cam` and the
same for `gallery`, but no names.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from ensemble.features.external.mat import read_mat
from ensemble.features.external.npz import read_npz

WANTED = (
    "want names (N,) and feats (N, D), or query_names, query, gallery_names and gallery "
    f"({__package__}.save writes them)"
)
NAMES_JSON = "names.json"
Arrays = Mapping[str, Any]
LAYUMI = ("query_f", "query_label", "query_cam", "gallery_f", "gallery_label", "gallery_cam")
KNOWN = {"names", "feats", "query_names", "query", "gallery_names", "gallery", *LAYUMI}


@dataclass(frozen=True)
class FileFeatures:
    """One table of features in a file.

    Attributes:
        side: query, gallery, or "" for both together.
        names: one per row; None if the file has none.
        feats: (N, D), not normalised.
        pids: (N,) identities, to check the order of rows without names.
        camids: (N,) cameras, for the same.
    """

    side: str
    names: tuple[str, ...] | None
    feats: NDArray
    pids: NDArray[np.int64] | None = None
    camids: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class FileDistances:
    """Distances qq (Q, Q), qg (Q, G) and gg (G, G), in the order of the names, as memory maps."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    qq: NDArray
    qg: NDArray
    gg: NDArray


FileContents = tuple[FileFeatures, ...] | FileDistances


def read_external(path: Path) -> FileContents:
    """Read a file or folder. Only types and shapes are checked.

    Raises:
        DataError: it cannot be read, or has another form.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise DataError(f"{path}: not a regular file; reading a pipe or a device might never end")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: external features are {', '.join(READERS)} or a folder with {NAMES_JSON}")
    try:
        arrays = reader(path)
    except DataError:
        raise
    except MemoryError:
        raise
    except Exception as e:  # broken bytes raise any kind of error in the readers
        raise DataError(f"{path}: cannot be read ({_reason(e)})") from e
    return _rows(path, arrays)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if "allow_pickle" in text or "pickle" in text.lower():
        return "it holds Python objects, which are never unpickled; save names as np.array(names), not dtype=object"
    return text or type(error).__name__


def _read_npz(path: Path) -> Arrays:
    return read_npz(path, KNOWN, WANTED)


def _read_safetensors(path: Path) -> Arrays:
    from safetensors import safe_open

    with safe_open(path, framework="np") as archive:
        there = [key for key in archive.keys() if key in KNOWN]  # noqa: SIM118
        kinds = {key: str(archive.get_slice(key).get_dtype()) for key in there}
        odd = next(
            (key for key, kind in kinds.items() if kind not in ("BF16", "F16", "F32", "F64", "I64", "I32")), None
        )
        if odd is not None:
            raise DataError(f"{path}: {odd} is {kinds[odd]}; want features of 16, 32 or 64 bits")
        plain = {key for key, kind in kinds.items() if kind != "BF16"}
        arrays: dict[str, Any] = {key: archive.get_tensor(key) for key in plain}
        arrays |= _bfloat16(path, set(there) - plain)
        for key, text in (archive.metadata() or {}).items():
            if key in ("names", "query_names", "gallery_names"):
                arrays[key] = json.loads(text)
    return arrays


def _bfloat16(path: Path, keys: Collection[str]) -> Arrays:
    """bfloat16 tensors as float32, since NumPy has no bfloat16. The header was checked when the file was opened."""
    if not keys:
        return {}
    with open(path, "rb") as file:
        begin = int.from_bytes(file.read(8), "little")
        told = json.loads(file.read(begin))
    found = {}
    for key in keys:
        first, last = told[key]["data_offsets"]
        bits = np.memmap(path, "<u2", "r", 8 + begin + first, (last - first) // 2)
        high = bits.astype(np.uint32) << 16
        found[key] = high.view(np.float32).reshape(told[key]["shape"])
    return found


def _read_mat(path: Path) -> Arrays:
    return read_mat(path, KNOWN, WANTED)


def _read_npy(path: Path) -> Arrays:
    raise DataError(
        f"{path}: a single array has no names, and rows are never matched by order. Save it with its names: "
        f"np.savez('member.npz', names=names, feats=np.load({path.name!r})). Save distances in a folder as qq.npy, "
        f"qg.npy, gg.npy and {NAMES_JSON}"
    )


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".mat": _read_mat,
    ".npy": _read_npy,
}


def _rows(path: Path, arrays: Arrays) -> tuple[FileFeatures, ...]:
    if "feats" in arrays and "names" in arrays:
        return (_table(path, "", arrays["names"], arrays["feats"]),)
    sides = ("query", "gallery")
    if all(f"{side}_names" in arrays for side in sides):
        feats = {side: arrays.get(side, arrays.get(f"{side}_f")) for side in sides}
        if all(value is not None for value in feats.values()):
            return tuple(_table(path, side, arrays[f"{side}_names"], feats[side]) for side in sides)
    if all(key in arrays for key in LAYUMI):
        return tuple(_nameless(path, side, arrays) for side in sides)
    raise DataError(f"{path}: holds {', '.join(sorted(arrays)) or 'none of these arrays'}; {WANTED}")


def _table(path: Path, side: str, names: Any, feats: Any) -> FileFeatures:
    texts = _texts(path, names)
    return FileFeatures(side, texts, _matrix(path, side or "feats", feats, len(texts)))


def _nameless(path: Path, side: str, arrays: Arrays) -> FileFeatures:
    feats = np.asarray(arrays[f"{side}_f"])
    numbers = [np.asarray(arrays[f"{side}_{key}"]).ravel() for key in ("label", "cam")]
    if feats.ndim != 2 or any(n.size != len(feats) or n.dtype.kind not in "iuf" for n in numbers):
        shapes = ", ".join(str(np.shape(arrays[f"{side}_{k}"])) for k in ("f", "label", "cam"))
        raise DataError(f"{path}: {side}_f, {side}_label and {side}_cam have shapes {shapes}; want (N, D), N and N")
    pids, camids = (n.astype(np.int64) for n in numbers)
    return FileFeatures(side, None, _matrix(path, f"{side}_f", feats, len(feats)), pids, camids)


def _matrix(path: Path, what: str, feats: Any, n: int) -> NDArray:
    array = np.asarray(feats)
    if array.ndim != 2 or len(array) != n or not array.size:
        raise DataError(f"{path}: {what} has shape {array.shape} for {n:,} names; want ({n}, D)")
    if array.dtype.kind != "f":
        raise DataError(f"{path}: {what} is {array.dtype}; want floating-point features")
    return array


def _texts(path: Path, names: Any) -> tuple[str, ...]:
    """Names as text, from a text array, UTF-8 bytes or a list."""
    flat = names if isinstance(names, list) else np.asarray(names).ravel().tolist()
    found = tuple(_text(name) for name in flat)
    odd = next((given for given, text in zip(flat, found, strict=True) if text is None), None)
    if odd is not None or not found:
        raise DataError(f"{path}: names hold {str(odd)[:40]!r}, of {type(odd).__name__}; want one text per row")
    return tuple(text for text in found if text is not None)


def _text(name: Any) -> str | None:
    if isinstance(name, bytes):
        try:
            name = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return str(name) if isinstance(name, str) else None


def _check_plain(files: Iterable[Path]) -> None:
    odd = next((file for file in files if file.exists() and not file.is_file()), None)
    if odd is not None:
        raise DataError(f"{odd}: not a regular file; reading a pipe or a device might never end")


def _read_folder(path: Path) -> FileContents:
    """Read `names.json` ({"query": [...], "gallery": [...]}) with feats.npy, queries first, or qq, qg and gg.npy."""
    try:
        _check_plain([path / NAMES_JSON])
        told = json.loads((path / NAMES_JSON).read_text(encoding="utf-8"))
        query, gallery = (_texts(path / NAMES_JSON, told[side]) for side in ("query", "gallery"))
        feats = path / "feats.npy"
        files = [feats] if feats.exists() else [path / f"{key}.npy" for key in ("qq", "qg", "gg")]
        _check_plain(files)
        arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
    except DataError:
        raise
    except MemoryError:
        raise
    except Exception as e:  # damaged headers raise any kind of error
        raise DataError(
            f"{path}: cannot be read ({_reason(e)}); want {NAMES_JSON} with lists 'query' and 'gallery', and "
            "feats.npy, or qq.npy, qg.npy and gg.npy"
        ) from e
    q, g = len(query), len(gallery)
    if len(arrays) == 1:
        both = _matrix(path, "feats.npy", arrays[0], q + g)
        return FileFeatures("query", query, both[:q]), FileFeatures("gallery", gallery, both[q:])
    for file, array, shape in zip(files, arrays, ((q, q), (q, g), (g, g)), strict=True):
        if array.shape != shape or array.dtype.kind != "f":
            raise DataError(f"{file}: {array.dtype} of shape {array.shape}; its names need floats of shape {shape}")
    return FileDistances(query, gallery, *arrays)
