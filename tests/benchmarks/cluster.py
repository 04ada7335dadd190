"""The search on a Dask cluster of separate processes against one process: times, equal lists, a worker killed.

`python -m tests.benchmarks.cluster [--size 1000x6000] [--workers 2]` prints a markdown table.
"""

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import distributed
import joblib
import numpy as np

from ensemble.neighbours.knn import Neighbours, nearest
from tests.benchmarks.retrieval import features

NAMES = ("order", "dist", "farthest", "near_order", "near_dist")


def timed(run: Callable[[], Neighbours]) -> tuple[Neighbours, float]:
    """The result, and the seconds that it took."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1000x6000", help="QUERYxGALLERY")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    n_query, n_gallery = map(int, chosen.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "feats.npy"
        np.save(path, features(n_query + n_gallery, 2048, 0))
        feats, killed = np.load(path, mmap_mode="r"), []

        def search(**options: object) -> Neighbours:
            return nearest(feats, 21, n_query=n_query, top_k=200, superblock=1024, device="cpu", **options)

        search()
        alone, seconds = timed(search)
        print(f"| {chosen.size} | seconds | lists |\n|---|---|---|\n| one process, threads | {seconds:.2f} | |")
        with (
            distributed.LocalCluster(chosen.workers, threads_per_worker=1, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
            joblib.parallel_config(backend="dask", n_jobs=-1),
        ):

            def kill(done: int, of: int) -> None:
                if not killed and done > of // 2:
                    killed.append(min(client.run(os.getpid).values()))
                    os.kill(killed[0], signal.SIGKILL)

            search()
            for name, options in (("Dask", {}), ("Dask, one worker killed midway", {"progress": kill})):
                found, seconds = timed(lambda o=options: search(**o))
                same = all(np.array_equal(getattr(alone, n), getattr(found, n)) for n in NAMES)
                print(f"| {name}, {chosen.workers} processes | {seconds:.2f} | {'the same' if same else 'DIFFERENT'} |")


if __name__ == "__main__":
    main()
