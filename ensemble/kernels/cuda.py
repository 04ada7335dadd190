"""Neighbour search on a CUDA device, through CuPy: float16 products with float32 sums, candidates, float64 rescoring.

The same bound as on the CPU decides what is rescored, so the lists are the same, ties by index. Whole rows of
similarities exist a block at a time; what leaves the device is the rescored candidates, and the host orders them. The
sparse steps of re-ranking, a fraction of a second, stay on the host. This file alone names cupy.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cupy
import numpy as np
from cupy.cuda import cublas
from numpy.typing import NDArray

from ensemble.kernels import cpu, dots
from ensemble.kernels.cuda_code import CODE, THREADS
from ensemble.source import UNIT_TOLERANCE, Features

CUDA_R_16F, CUDA_R_32F = 2, 0
# Tensor cores truncate where IEEE adders round, with at least float32's digits (Fasi, Higham, Mikaitis & Pranesh 2021).
SUM_ERROR = 2.0**-22
SHARE_OF_MEMORY = 0.25
Lists = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]


def problem() -> str | None:
    """None where a CUDA device answers, else why not."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device answers ({error})"
    return None if count else "there is no CUDA device"


@dataclass(frozen=True)
class _Loaded:
    """A source on the device: float32 features, scaled float16 ones, labels; scale, and slack in units of scale^2."""

    feats: list[Any]
    halves: list[Any]
    labels: list[Any]
    scale: float
    slack: float


def _load(source: Features) -> _Loaded:
    scale = 2.0 ** np.floor(np.log2(1024 / np.sqrt(source.total)))
    feats, halves, error = [], [], cupy.zeros(source.n)
    for member, weight in zip(source.members, source.weights, strict=True):
        single = cupy.asarray(member)
        half = cupy.empty(single.shape, cupy.float16)
        for start in range(0, source.n, 8192):
            rows = slice(start, start + 8192)
            scaled = single[rows] * cupy.float32(scale * weight**0.5)
            half[rows] = scaled.astype(cupy.float16)
            error[rows] += ((scaled - half[rows].astype(cupy.float32)).astype(cupy.float64) ** 2).sum(axis=1)
        feats.append(single)
        halves.append(half)
    length, lost = source.total**0.5 * (1 + UNIT_TOLERANCE), float(cupy.sqrt(error.max())) / scale
    operations = sum(a.shape[1] + 8 for a in feats) + 2 * len(source.penalties) + 4
    amounts = sum(amount for _, amount in source.penalties)
    bound = lost * (2 * length + lost) + operations * SUM_ERROR * ((length + lost) ** 2 + amounts)
    labels = [cupy.asarray(each) for each, _ in source.penalties]
    return _Loaded(feats, halves, labels, float(scale), float(2.01 * bound * scale**2))


def _products(halves: list[Any], rows: slice, out: Any) -> None:
    """out (B, N) float32 = the rows by all images, summed over members, in units of scale^2."""
    one, nought = np.ones(1, np.float32), np.zeros(1, np.float32)
    handle = cupy.cuda.device.get_cublas_handle()
    count, n = out.shape
    for m, half in enumerate(halves):
        dims = half.shape[1]
        cublas.gemmEx(
            handle, cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N, n, count, dims, one.ctypes.data,
            half.data.ptr, CUDA_R_16F, dims, half[rows].data.ptr, CUDA_R_16F, dims,
            (one if m else nought).ctypes.data, out.data.ptr, CUDA_R_32F, n,
            cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )  # fmt: skip


def search(source: Features, k: int, n_query: int | None, top_k: int | None) -> tuple:
    """The fields of `ensemble.neighbours.Neighbours` for these images."""
    module, held, n = cupy.RawModule(code=CODE), _load(source), source.n
    q = n_query or 0
    k_near = min(top_k or 0, n - q)
    order, sim = np.empty((n, k), np.int32), np.empty((n, k), np.float32)
    least, near = np.empty(n, np.float32), np.empty((q, k_near), np.int32)
    near_sim = np.empty((q, k_near), np.float32)
    for rows, block in _blocks(source, held, module, n):
        order[rows], sim[rows], least[rows] = _lists(source, held, module, rows, block, slice(0, n), k)
        queries = slice(rows.start, min(rows.stop, q))
        if k_near and queries.start < queries.stop:
            part = block[: queries.stop - queries.start]
            found, value, _ = _lists(source, held, module, queries, part, slice(q, n), k_near)
            near[queries], near_sim[queries] = found - np.int32(q), value
    return (order, sim, least, source.total, near, near_sim) if k_near else (order, sim, least, source.total)


def gallery(source: Features, n_query: int, top_k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Each query's nearest gallery images alone: order (Q, K) in 0..G-1, similarity (Q, K)."""
    module, held, cols = cupy.RawModule(code=CODE), _load(source), slice(n_query, source.n)
    k = min(top_k, source.n - n_query)
    parts = [_lists(source, held, module, r, b, cols, k) for r, b in _blocks(source, held, module, n_query)]
    return np.concatenate([p[0] for p in parts]) - np.int32(n_query), np.concatenate([p[1] for p in parts])


def _blocks(source: Features, held: _Loaded, module: Any, stop: int) -> Iterator[tuple[slice, Any]]:
    """Similarities of rows 0 to stop to all, (B, N), as many at a time as a share of the free memory holds."""
    free, n = cupy.cuda.runtime.memGetInfo()[0], source.n
    step = int(max(1, min(stop, 8192, SHARE_OF_MEMORY * free / (4 * n))))
    penalise, out = module.get_function("penalise"), cupy.empty((step, n), cupy.float32)
    for start in range(0, stop, step):
        rows = slice(start, min(stop, start + step))
        block = out[: rows.stop - start]
        _products(held.halves, rows, block)
        for labels, (_, amount) in zip(held.labels, source.penalties, strict=True):
            settings = np.int64(n), np.int32(n), np.int64(start), labels, np.float32(amount * held.scale**2)
            penalise((len(block),), (THREADS,), (block, *settings))
        yield rows, block


def _lists(source: Features, held: _Loaded, module: Any, rows: slice, block: Any, cols: slice, k: int) -> Lists:
    """Exact lists of some rows among some columns: order (B, k), sim (B, k), least (B,)."""
    count, width, room = len(block), cols.stop - cols.start, cpu.capacity(k)
    where, low = (cupy.empty((count, c), cupy.int32) for c in (room, cpu.LEAST_CAPACITY))
    found, low_found = (cupy.empty(count, cupy.int32) for _ in range(2))
    settings = np.int64(source.n), np.int32(width), np.int32(k), np.float32(held.slack)
    rooms = np.int32(room), np.int32(cpu.LEAST_CAPACITY)
    select = module.get_function("select_rows")
    select((count,), (THREADS,), (block[:, cols], *settings, *rooms, where, found, low, low_found))
    top = _rescored(source, held, module, rows, cols, where, found)
    order, sim = dots.best(*top, k)
    indptr, _, value = _rescored(source, held, module, rows, cols, low, low_found)
    least = dots.least(indptr, value)
    _repair(source, rows, cols, k, (cupy.minimum(found, low_found) < 0).get(), (order, sim, least))
    return order, sim, least


def _rescored(
    source: Features, held: _Loaded, module: Any, rows: slice, cols: slice, where: Any, found: Any
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Candidates on the host as (indptr, index, similarity)."""
    add_dots, out = module.get_function("add_dots"), cupy.zeros(where.shape)
    for feats, weight in zip(held.feats, source.weights, strict=True):
        span = np.int64(feats.shape[1]), np.int64(rows.start), np.int64(cols.start)
        tail = np.int32(where.shape[1]), np.float64(weight), out
        add_dots((len(where),), (THREADS,), (feats, *span, where, found, *tail))
    counts = np.maximum(found.get(), 0)
    valid = np.arange(where.shape[1]) < counts[:, None]
    index, value = where.get()[valid] + np.int32(cols.start), out.get()[valid]
    left = np.repeat(np.arange(rows.start, rows.stop), counts)
    for labels, amount in source.penalties:
        value -= amount * ((labels[left] == labels[index]) & (labels[index] >= 0) & (left != index))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), index, value.astype(np.float32)


def _repair(source: Features, rows: slice, cols: slice, k: int, again: NDArray[np.bool_], lists: Lists) -> None:
    """Rows with more candidates than fit, again, from whole rows on the host."""
    from ensemble.search import runs, whole_rows

    for run, _ in runs(np.flatnonzero(again), [(slice(0, len(again)), cols)]):
        exact = whole_rows(source, slice(rows.start + run.start, rows.start + run.stop), k, cols)
        for mine, right in zip(lists, exact, strict=True):
            mine[run] = right
