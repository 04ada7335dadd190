"""Rows shared out over workers: threads here, or the machines of a joblib backend.

Heavy, independent tasks go through `tasks`, which obeys `joblib.parallel_config`: a Dask or Ray backend given there
runs them on a cluster. Cheap steps over rows already in memory go through `over_rows`, always threads of this process:
the kernels release the interpreter lock. Each worker's matrix products are single-threaded; two thread pools that take
turns on the same cores cost more than either.
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
    """How many workers n_jobs means here (-1: one a core); raises ValueError for 0."""
    if n_jobs == 0:
        raise ValueError("n_jobs is 0: want a number of workers, or -1 for one a core")
    return int(joblib.effective_n_jobs(n_jobs))


def here() -> tuple[str, int]:
    """What tells this process from a worker process, on this machine or on another."""
    return socket.gethostname(), os.getpid()


@contextmanager
def one_thread_products() -> Iterator[None]:
    """Matrix products on one thread each while inside; restored after."""
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield


def settle_in(home: tuple[str, int]) -> None:
    """In a worker process other than `home`: products on one thread from now on, one worker a core."""
    if here() != home:
        threadpoolctl.threadpool_limits(1, "blas")


def tasks(function: Callable[..., Any], arguments: Iterable[tuple], n_jobs: int) -> Iterator[Any]:
    """Results of function(*a), as they come in; function and arguments must pickle where the backend needs it.

    Arguments are drawn as workers come free, so that later ones can use what earlier results taught.
    """
    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    with one_thread_products():
        if isinstance(backend, ThreadingBackend | SequentialBackend):
            yield from _threads(function, arguments, workers(n_jobs))
        else:
            pool = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")
            yield from pool(joblib.delayed(function)(*a) for a in arguments)


def _threads(function: Callable[..., Any], arguments: Iterable[tuple], count: int) -> Iterator[Any]:
    """The same on threads of this process: joblib's own poll for results, which costs more than a small search."""
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
