"""Times and memory of the retrieval engine, each figure in a process of its own, as a markdown table.

`python -m tests.benchmarks.retrieval [--size 500x2000 ...] [--all] [--figures lists] [--members 5] [--device cuda]`
Ratios are to one full product X Y^T of distinct buffers, timed in the same process in turn with the figure. Features
are drawn: 25 images an identity (`--each`) around random centres. The product may be timed on a share of the rows and
scaled.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZES = ("500x2000", "1000x6000", "3368x15913")
LARGE = "11659x82161"
FIGURES = ("lists", "sweep", "plain", "score", "count", "count_lists", "search_float32", "dense_port")
NOT_LARGE = ("dense_port", "search_float32", "count")


def features(n: int, dim: int, seed: int, spread: float = 1.2, each: int = 25) -> NDArray[np.float32]:
    """(n, dim) float32 unit rows, image i of identity i mod (n / each)."""
    rng = np.random.default_rng(seed)
    people = max(1, n // each)
    centres = rng.standard_normal((people, dim), dtype=np.float32)
    out = rng.standard_normal((n, dim), dtype=np.float32)
    out *= np.float32(spread)
    for start in range(0, n, people):
        out[start : start + people] += centres[: len(out[start : start + people])]
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def measure(name: str, size: str, paths: list[Path], repeats: int, share: float, device: str) -> dict[str, float]:
    """One figure in a fresh process with the libraries' own choice of kernels."""
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    command = [sys.executable, "-m", "tests.benchmarks.figure", name, size, ",".join(map(str, paths)), str(repeats)]
    done = subprocess.run([*command, str(share), device], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} at {size} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="*", default=list(SIZES), help="QUERYxGALLERY")
    parser.add_argument("--all", action="store_true", help=f"{LARGE} too")
    parser.add_argument("--figures", nargs="*", default=list(FIGURES), choices=FIGURES)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--each", type=int, default=25, help="images an identity: 200 make large reciprocal sets")
    parser.add_argument("--spread", type=float, default=1.2, help="of images around their centre, in its lengths")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    print("| size | figure | seconds | product X Y^T | ratio | GiB above features |\n|---|---|---|---|---|---|")
    for size in [*chosen.size, *([LARGE] if chosen.all else [])]:
        n = sum(int(part) for part in size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{m}.npy" for m in range(chosen.members)]
            for m, path in enumerate(paths):
                np.save(path, features(n, chosen.dim, m, chosen.spread, chosen.each))
            for name in chosen.figures:
                if n > 50_000 and name in NOT_LARGE:
                    continue
                repeats = 1 if name == "dense_port" or n > 50_000 else chosen.repeats
                got = measure(name, size, paths, repeats, 0.05 if n > 50_000 else 1.0, chosen.device)
                print(
                    f"| {size} | {name} | {got['seconds']:.3f} | {got['product']:.3f} | {got['ratio']:.3f} | "
                    f"{got['above_gib']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
