"""Read MATLAB's `.mat` in a separate process: damaged bytes can crash SciPy's reader and its process.

The process writes the arrays as `.npz`, or prints one message. If it ends in another way, the file is damaged.
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
    """The arrays among these names that the file has; names as text.

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
    said = done.stdout.strip() or "damaged, or made to crash its reader"
    raise DataError(f"{path}: cannot be read ({said}); {want}")


def main(path: str, out: str, wanted: str) -> None:
    """Read one file and write it as `.npz`; or print the reason and exit with status 1."""
    try:
        np.savez(out, allow_pickle=False, **_load(path, json.loads(wanted)))
    except Exception as e:  # broken bytes raise any kind of error in SciPy
        newer = isinstance(e, NotImplementedError)
        print("MATLAB's v7.3; save it with -v7" if newer else " ".join(str(e).split())[:200] or type(e).__name__)
        sys.exit(1)


def _load(path: str, wanted: Collection[str]) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat, whosmat

    size = os.path.getsize(path)
    for name, shape, _ in whosmat(path):
        if name in wanted and 8 * math.prod(shape) > max(LARGE, SWELL * size):
            raise ValueError(f"{name} claims shape {shape} in {size:,} bytes")
    arrays = {name: value for name, value in loadmat(path, chars_as_strings=True).items() if name in wanted}
    return {name: np.array(_texts(value)) if name.endswith("names") else value for name, value in arrays.items()}


def _texts(names: Any) -> list[str]:
    """MATLAB's texts: rows of characters padded with spaces, or cells with one text each."""
    cells = [c.ravel()[0] if isinstance(c, np.ndarray) and c.size == 1 else c for c in np.asarray(names).ravel()]
    odd = next((c for c in cells if not isinstance(c, str)), None)
    if odd is not None:
        raise ValueError(f"names hold {str(odd)[:40]!r}, of {type(odd).__name__}; want one text per row")
    return [c.rstrip(" ") for c in cells]


if __name__ == "__main__":
    main(*sys.argv[1:])
