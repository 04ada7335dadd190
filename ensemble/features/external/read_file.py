"""Files of features and names from any code: `.npz`, safetensors, MATLAB's `.mat`, or a folder of `.npy`.

One vocabulary for all: `names` (N,) and `feats` (N, D), queries and gallery in one; or `query_names`, `query`,
`gallery_names`, `gallery`. safetensors holds no text: there the names are JSON lists under the same words in its
metadata. layumi's `pytorch_result.mat` (Person_reID_baseline_pytorch, test.py) holds `query_f`, `query_label`,
`query_cam` and the same of `gallery`, and no names. Nothing is ever unpickled.
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
    "wanted are names (N,) and feats (N, D), or query_names, query, gallery_names and gallery "
    f"({__package__}.save writes them)"
)
NAMES_JSON = "names.json"
Arrays = Mapping[str, Any]
LAYUMI = ("query_f", "query_label", "query_cam", "gallery_f", "gallery_label", "gallery_cam")
KNOWN = {"names", "feats", "query_names", "query", "gallery_names", "gallery", *LAYUMI}


@dataclass(frozen=True)
class Rows:
    """side: query, gallery, or "" for both in one. names: one a row. feats: (N, D), as they came.

    names is None where the file has none; then pids and camids, if it has those, tell which images they may be.
    """

    side: str
    names: tuple[str, ...] | None
    feats: NDArray
    pids: NDArray[np.int64] | None = None
    camids: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Matrices:
    """Distances qq (Q, Q), qg (Q, G) and gg (G, G) in the order of these names; memory maps."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    qq: NDArray
    qg: NDArray
    gg: NDArray


Given = tuple[Rows, ...] | Matrices


def read_outside(path: Path) -> Given:
    """What a file or folder holds, names and numbers checked for their form alone.

    Raises:
        DataError: it cannot be read, or is not one of the forms above.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise DataError(f"{path}: no plain file; a pipe or a device may never come to an end")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: features from outside are {', '.join(READERS)} or a folder with {NAMES_JSON}")
    try:
        arrays = reader(path)
    except DataError:
        raise
    except MemoryError:
        raise
    except Exception as e:  # each reader raises whatever broken bytes lead it to; all of it means the same here
        raise DataError(f"{path}: cannot be read ({_reason(e)})") from e
    return _rows(path, arrays)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if "allow_pickle" in text or "pickle" in text.lower():
        return "it holds Python objects, which are never unpickled: save names as np.array(names), not dtype=object"
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
            raise DataError(f"{path}: {odd} is {kinds[odd]}; wanted features of 16, 32 or 64 bits")
        plain = {key for key, kind in kinds.items() if kind != "BF16"}
        arrays: dict[str, Any] = {key: archive.get_tensor(key) for key in plain}
        arrays |= _bfloat16(path, set(there) - plain)
        for key, text in (archive.metadata() or {}).items():
            if key in ("names", "query_names", "gallery_names"):
                arrays[key] = json.loads(text)
    return arrays


def _bfloat16(path: Path, keys: Collection[str]) -> Arrays:
    """Tensors of a kind that NumPy has not, as float32: a safetensors file has been opened, so its header is right."""
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
        f"{path}: a bare array has no names, and rows are never matched by order. Put it beside its names: "
        f"np.savez('member.npz', names=names, feats=np.load({path.name!r})); or distances into a folder as qq.npy, "
        f"qg.npy, gg.npy and {NAMES_JSON}"
    )


READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".mat": _read_mat,
    ".npy": _read_npy,
}


def _rows(path: Path, arrays: Arrays) -> tuple[Rows, ...]:
    if "feats" in arrays and "names" in arrays:
        return (_table(path, "", arrays["names"], arrays["feats"]),)
    sides = ("query", "gallery")
    if all(f"{side}_names" in arrays for side in sides):
        feats = {side: arrays.get(side, arrays.get(f"{side}_f")) for side in sides}
        if all(value is not None for value in feats.values()):
            return tuple(_table(path, side, arrays[f"{side}_names"], feats[side]) for side in sides)
    if all(key in arrays for key in LAYUMI):
        return tuple(_nameless(path, side, arrays) for side in sides)
    raise DataError(f"{path}: holds {', '.join(sorted(arrays)) or 'none of the arrays that are wanted'}; {WANTED}")


def _table(path: Path, side: str, names: Any, feats: Any) -> Rows:
    texts = _texts(path, names)
    return Rows(side, texts, _matrix(path, side or "feats", feats, len(texts)))


def _nameless(path: Path, side: str, arrays: Arrays) -> Rows:
    feats = np.asarray(arrays[f"{side}_f"])
    numbers = [np.asarray(arrays[f"{side}_{key}"]).ravel() for key in ("label", "cam")]
    if feats.ndim != 2 or any(n.size != len(feats) or n.dtype.kind not in "iuf" for n in numbers):
        shapes = ", ".join(str(np.shape(arrays[f"{side}_{k}"])) for k in ("f", "label", "cam"))
        raise DataError(f"{path}: {side}_f, {side}_label and {side}_cam have shapes {shapes}; wanted (N, D), N and N")
    pids, camids = (n.astype(np.int64) for n in numbers)
    return Rows(side, None, _matrix(path, f"{side}_f", feats, len(feats)), pids, camids)


def _matrix(path: Path, what: str, feats: Any, n: int) -> NDArray:
    array = np.asarray(feats)
    if array.ndim != 2 or len(array) != n or not array.size:
        raise DataError(f"{path}: {what} has shape {array.shape} for {n:,} names; wanted ({n}, D)")
    if array.dtype.kind != "f":
        raise DataError(f"{path}: {what} is {array.dtype}; wanted floating-point features")
    return array


def _texts(path: Path, names: Any) -> tuple[str, ...]:
    """Names as text: of a text array, of bytes in UTF-8, of a list."""
    flat = names if isinstance(names, list) else np.asarray(names).ravel().tolist()
    found = tuple(_text(name) for name in flat)
    odd = next((given for given, text in zip(flat, found, strict=True) if text is None), None)
    if odd is not None or not found:
        raise DataError(f"{path}: names hold {str(odd)[:40]!r}, of {type(odd).__name__}; wanted one text a row")
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
        raise DataError(f"{odd}: no plain file; a pipe or a device may never come to an end")


def _read_folder(path: Path) -> Given:
    """`names.json` ({"query": [...], "gallery": [...]}) and feats.npy, query first, or qq.npy, qg.npy and gg.npy."""
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
    except Exception as e:  # of damaged headers as above
        raise DataError(
            f"{path}: cannot be read ({_reason(e)}); wanted {NAMES_JSON} with lists 'query' and 'gallery', and "
            "feats.npy, or qq.npy, qg.npy and gg.npy"
        ) from e
    q, g = len(query), len(gallery)
    if len(arrays) == 1:
        both = _matrix(path, "feats.npy", arrays[0], q + g)
        return Rows("query", query, both[:q]), Rows("gallery", gallery, both[q:])
    for file, array, shape in zip(files, arrays, ((q, q), (q, g), (g, g)), strict=True):
        if array.shape != shape or array.dtype.kind != "f":
            raise DataError(f"{file}: {array.dtype} of shape {array.shape}; its names want floats of shape {shape}")
    return Matrices(query, gallery, *arrays)
