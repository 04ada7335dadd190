"""A CUDA device through CuPy: arrays there and back, products, and the kernels of the `.cu` files beside this one.

This file alone names cupy. Everything else of the engine goes through its functions, so that the tests can put the same
kernels, compiled for the CPU, in their place.
"""

from __future__ import annotations

import functools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cupy
import cupyx
import numpy as np
from cupy.cuda import cublas
from numpy.typing import NDArray

xp: Any = cupy
HERE = Path(__file__).parent
CODE = "\n".join((HERE / f"{name}.cu").read_text(encoding="utf-8") for name in ("common", "search", "sets", "scores"))
OPTIONS = ("-std=c++17", "--fmad=false")  # products and sums are rounded one by one, as on the CPU
THREADS = 128
BLOCKS = 16  # a multiprocessor, where a fixed number of blocks shares the work
CUDA_R_16F, CUDA_R_32F = 2, 0
STAGED = 1 << 25  # bytes of one page-locked buffer on the way to the device
PINNED_MOST = 1 << 28  # bytes of a result that comes back through page-locked memory
COPIERS = 8
C_TYPES = {
    "int": np.int32,
    "i64": np.int64,
    "u32": np.uint32,
    "u64": np.uint64,
    "float": np.float32,
    "double": np.float64,
    "unsigned short": np.uint16,
}


def signatures(code: str) -> dict[str, list[tuple[Any, bool]]]:
    """Of every kernel in the code its parameters: type, and whether it is a pointer."""
    found: dict[str, list[tuple[Any, bool]]] = {}
    for name, parameters in re.findall(r'extern "C" __global__ void (\w+)\((.*?)\)\s*\{', code, re.DOTALL):
        each = [re.fullmatch(r"(?:const )?(.+?)(\*?) \w+", " ".join(p.split())) for p in parameters.split(",")]
        found[name] = [(C_TYPES[m[1]], bool(m[2])) for m in each if m]
    return found


SIGNATURES = signatures(CODE)


def problem() -> str | None:
    """None where a CUDA device answers, else why not."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device answers ({error})"
    return None if count else "there is no CUDA device"


def devices() -> int:
    """How many there are."""
    return int(cupy.cuda.runtime.getDeviceCount())


def current() -> int:
    """The number of the one in use."""
    return int(cupy.cuda.Device().id)


def on(number: int) -> Any:
    """A context in which this device is the one that is used."""
    return cupy.cuda.Device(number)


def free_memory() -> int:
    """Bytes that can be taken on the device, what CuPy holds and does not use among them."""
    return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())


@functools.cache
def _attributes(number: int) -> tuple[int, int]:
    device = cupy.cuda.Device(number)
    return device.attributes["MultiProcessorCount"], device.attributes["MaxSharedMemoryPerBlockOptin"]


def resident_blocks() -> int:
    """Blocks of a grid of fixed size that keeps the device busy."""
    return _attributes(current())[0] * BLOCKS


def shared_memory() -> int:
    """Bytes of its own that a block of threads may ask for, beside the kernel's fixed ones."""
    return _attributes(current())[1] - 4096


@functools.cache
def _function(name: str, number: int) -> Any:
    return _module(number).get_function(name)


@functools.cache
def _module(number: int) -> Any:
    return cupy.RawModule(code=CODE, options=OPTIONS)


def launch(name: str, blocks: int, *arguments: Any, threads: int = THREADS, shared: int = 0) -> None:
    """Start a kernel on `blocks` blocks of threads; arrays for its pointers, None for a null one, numbers for the rest.

    Raises:
        TypeError: arguments that are not the kernel's.
    """
    if not blocks:
        return
    kernel = _function(name, current())
    if shared > kernel.max_dynamic_shared_size_bytes:
        kernel.max_dynamic_shared_size_bytes = shared
    kernel((blocks,), (threads,), converted(name, arguments), shared_mem=shared)


def converted(name: str, arguments: tuple) -> tuple:
    """Arguments as the kernel's C types; TypeError for others."""
    wanted = SIGNATURES[name]
    if len(wanted) != len(arguments):
        raise TypeError(f"kernel {name} takes {len(wanted)} arguments, got {len(arguments)}")
    out: list[Any] = []
    for number, ((kind, pointer), given) in enumerate(zip(wanted, arguments, strict=True)):
        if not pointer:
            out.append(kind(given))
        elif given is None:
            out.append(np.uint64(0))
        elif given.dtype != kind:
            raise TypeError(f"kernel {name}, argument {number}: an array of {given.dtype}, want {np.dtype(kind)}")
        else:
            out.append(given)
    return tuple(out)


def address(array: Any) -> int:
    """Where an array lies on the device."""
    return int(array.data.ptr)


def half_product(left: Any, right: Any, out: Any) -> None:
    """out (B, C) float32 = left (B, D) times right (C, D) transposed, both float16 bits, summed in float32.

    C a multiple of 8, so that each row of out begins at 16 bytes. With C = 19,281 an H200 did 97 of 709 TFLOP/s; that
    the rows' places are the reason is a guess until the padded product is measured.
    """
    one, nought = np.ones(1, np.float32), np.zeros(1, np.float32)
    count, n = out.shape
    cublas.gemmEx(
        cupy.cuda.device.get_cublas_handle(), cublas.CUBLAS_OP_T, cublas.CUBLAS_OP_N, n, count, left.shape[1],
        one.ctypes.data, right.data.ptr, CUDA_R_16F, right.shape[1], left.data.ptr, CUDA_R_16F, left.shape[1],
        nought.ctypes.data, out.data.ptr, CUDA_R_32F, n,
        cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT_TENSOR_OP,
    )  # fmt: skip


def upload(array: NDArray) -> Any:
    """A copy on the device. What is large goes through two page-locked buffers that several threads fill in turn."""
    out = xp.empty(array.shape, array.dtype)
    if array.nbytes <= STAGED:
        out.set(np.ascontiguousarray(array))
        return out
    flat, size = array.reshape(-1), STAGED // array.dtype.itemsize
    stages = [(cupyx.empty_pinned(size, array.dtype), cupy.cuda.Event()) for _ in range(2)]
    stream, itemsize = cupy.cuda.get_current_stream(), array.dtype.itemsize
    with ThreadPoolExecutor(min(COPIERS, os.cpu_count() or 1)) as pool:
        for number, start in enumerate(range(0, flat.size, size)):
            stage, sent = stages[number % 2]
            sent.synchronize()
            part = flat[start : start + size]
            cuts = np.linspace(0, part.size, COPIERS + 1).astype(int)
            list(pool.map(lambda a, b, to=stage, of=part: np.copyto(to[a:b], of[a:b]), cuts[:-1], cuts[1:]))
            where = out.data.ptr + start * itemsize
            kind = cupy.cuda.runtime.memcpyHostToDevice
            cupy.cuda.runtime.memcpyAsync(where, stage.ctypes.data, part.size * itemsize, kind, stream.ptr)
            sent.record(stream)
    stream.synchronize()
    return out


def download(array: Any) -> NDArray:
    """A copy in this machine's memory."""
    if not 0 < array.nbytes <= PINNED_MOST:
        return array.get()
    out: NDArray = cupyx.empty_pinned(array.shape, array.dtype)
    array.get(out=out)
    return out


def adopt(array: Any) -> Any:
    """An array on a device as CuPy's float32 one, (N, D) contiguous; not copied where it is so already."""
    return xp.ascontiguousarray(xp.from_dlpack(array), np.float32)
