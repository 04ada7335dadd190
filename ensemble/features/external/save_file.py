"""Write features and names as a file for `--members`."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ConfigError
from ensemble.metrics.ids import as_array


def save(
    path: str | Path,
    names: Sequence[str] | None = None,
    feats: ArrayLike | None = None,
    *,
    query_names: Sequence[str] | None = None,
    query: ArrayLike | None = None,
    gallery_names: Sequence[str] | None = None,
    gallery: ArrayLike | None = None,
) -> None:
    """Write a member as `.npz` or `.safetensors`. An old file is replaced only when the new one is complete.

        ensemble.features.external.save("mine.npz", names, feats)    # then: --members r50,mine.npz

    Args:
        path: ends in .npz or .safetensors.
        names, feats: query and gallery together, (N,) and (N, D); or
        query_names, query, gallery_names, gallery: each side separately, if both sides use the same names.

    Raises:
        ConfigError: missing arguments, different lengths, a zero or non-finite row, a repeated name, another ending.
    """
    given = {"feats": (names, feats), "query": (query_names, query), "gallery": (gallery_names, gallery)}
    there = {key: pair for key, pair in given.items() if any(x is not None for x in pair)}
    if list(there) not in (["feats"], ["query", "gallery"]) or any(a is None or b is None for a, b in there.values()):
        raise ConfigError("give names and feats, or query_names, query, gallery_names and gallery")
    arrays, texts = {}, {}
    for key, (of, values) in there.items():
        texts["names" if key == "feats" else f"{key}_names"] = told = [str(name) for name in of or ()]
        try:
            arrays[key] = np.ascontiguousarray(as_array(values, key, "(N, D)"))
        except ValueError as e:
            raise ConfigError(str(e)) from e
        _check(key, told, arrays[key])
    _write(Path(path), arrays, texts)


def _check(key: str, names: Sequence[str], array: NDArray) -> None:
    """Raise ConfigError for features that a build would reject."""
    if array.ndim != 2 or len(array) != len(names):
        raise ConfigError(f"{key} has shape {array.shape} for {len(names):,} names; want (N, D)")
    if array.dtype.kind != "f":
        raise ConfigError(f"{key} is {array.dtype}; want floating-point features")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1) | ~array.any(axis=1))
    if len(bad):
        raise ConfigError(f"{key}: the row of {names[bad[0]]!r} is zero or not finite ({len(bad):,} such rows)")
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ConfigError(f"{key}: {len(twice):,} names occur more than once, first {twice[0]!r}")


def _write(path: Path, arrays: dict[str, NDArray], texts: dict[str, list[str]]) -> None:
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        if path.suffix == ".npz":
            np.savez(part, allow_pickle=False, **arrays, **{key: np.array(value) for key, value in texts.items()})
        elif path.suffix == ".safetensors":
            from safetensors.numpy import save_file

            save_file(arrays, part, {key: json.dumps(value) for key, value in texts.items()})
        else:
            raise ConfigError(f"{path}: want a name that ends in .npz or .safetensors")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
