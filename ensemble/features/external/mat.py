"""MATLAB's `.mat`, read in a process of its own: damaged bytes can end SciPy's reader, and the process that it runs in.

The process writes what it read as `.npz`, or one sentence; one that ends otherwise has met bytes that are no `.mat`.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from ensemble.features.external.npz import LARGE, SWELL, read_npz


def read_mat(path: Path, wanted: Collection[str], want: str) -> dict[str, NDArray[Any]]:
    """The arrays of these names that are there; names as text.

    Raises:
        DataError: it cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "read.npz"
        done = subprocess.run(
            [sys.executable, "-m", __name__, str(path.absolute()), str(out), json.dumps([*wanted])],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return read_npz(out, wanted, want)
    said = done.stdout.strip() or "damaged, or made to end its reader"
    raise DataError(f"{path}: cannot be read ({said}); {want}")


def main(path: str, out: str, wanted: str) -> None:
    """Read one file and write it as `.npz`; or print why not, and leave with status 1."""
    try:
        np.savez(out, allow_pickle=False, **_load(path, json.loads(wanted)))
    except Exception as e:  # SciPy raises whatever broken bytes lead it to; all of it means the same here
        newer = isinstance(e, NotImplementedError)
        print("MATLAB's v7.3; save it with -v7" if newer else " ".join(str(e).split())[:200] or type(e).__name__)
        sys.exit(1)


def _load(path: str, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat, whosmat

    size = os.path.getsize(path)
    for name, shape, _ in whosmat(path):
        if name in wanted and 8 * math.prod(shape) > max(LARGE, SWELL * size):
            raise ValueError(f"says that {name} is of shape {shape}, in {size:,} bytes")
    arrays = {name: value for name, value in loadmat(path, chars_as_strings=True).items() if name in wanted}
    return {name: np.array(_texts(value)) if name.endswith("names") else value for name, value in arrays.items()}


def _texts(names: Any) -> list[str]:
    """MATLAB's texts: rows of characters padded with spaces to one length, or cells of one text each."""
    cells = [c.ravel()[0] if isinstance(c, np.ndarray) and c.size == 1 else c for c in np.asarray(names).ravel()]
    odd = next((c for c in cells if not isinstance(c, str)), None)
    if odd is not None:
        raise ValueError(f"names hold {str(odd)[:40]!r}, of {type(odd).__name__}; wanted one text a row")
    return [c.rstrip(" ") for c in cells]


if __name__ == "__main__":
    main(*sys.argv[1:])
