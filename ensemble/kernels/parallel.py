"""Split rows over workers: threads of this process, or a joblib backend.

Heavy, independent tasks use `tasks`, which obeys `joblib.parallel_config`: Dask or Ray can run them on a cluster.
Cheap steps over rows in memory use `over_rows`: threads of this process, since kernels release the interpreter lock.
Matrix products in workers are single-threaded, since two thread pools on the same cores are slower than one.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import Any

import joblib
import threadpoolctl
from joblib.parallel import SequentialBackend, ThreadingBackend


def workers(n_jobs: int) -> int:
    """The number of workers for n_jobs (-1: one per core); ValueError for 0."""
    if n_jobs == 0:
        raise ValueError("n_jobs is 0: want a number of workers, or -1 for one per core")
    return int(joblib.effective_n_jobs(n_jobs))


def here() -> tuple[str, int]:
    """An identifier of this process that differs from that of worker processes on any machine."""
    return socket.gethostname(), os.getpid()


@contextmanager
def one_thread_products() -> Iterator[None]:
    """Inside, matrix products use one thread each."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


def settle_in(home: tuple[str, int]) -> None:
    """In a process other than `home`, set matrix products to one thread for good."""
    if here() != home:
        threadpoolctl.threadpool_limits(1, "blas")


def tasks(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int) -> Iterator[Any]:
    """Yield results of function(*a) as they finish. Some backends need arguments that can be pickled.

    Arguments are taken when a worker is free, so later ones can use earlier results.
    """
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    with one_thread_products():
        if isinstance(backend, ThreadingBackend | SequentialBackend):
            yield from _threads(function, arguments, workers(n_jobs))
        else:
            pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
            yield from pool(joblib.delayed(function)(*a) for a in arguments)


def _threads(function: Callable[..., Any], arguments: Iterable[tuple], count: int) -> Iterator[Any]:
    """`tasks` on threads of this process, without joblib's polling, which takes longer than a small search."""
    waiting: set[Future] = set()
    left = iter(arguments)
    with ThreadPoolExecutor(count) as pool:
        while True:
            waiting |= {pool.submit(function, *a) for a in islice(left, count + 1 - len(waiting))}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def spans(n: int, size: int, start: int = 0) -> list[slice]:
    """Consecutive slices of at most `size` that cover start..n."""
    return [slice(a, min(n, a + size)) for a in range(start, n, size)]


def over_rows(function: Callable[[slice], Any], n: int, n_jobs: int, start: int = 0, most: int = 2048) -> list[Any]:
    """[function(rows) for consecutive slices of start..n], in order, on threads of this process."""
    count = min(workers(n_jobs), os.cpu_count() or 1)
    pieces = spans(n, max(1, min(most, -(-(n - start) // (4 * count)))), start)
    if count == 1 or len(pieces) == 1:
        return [function(piece) for piece in pieces]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, pieces))
