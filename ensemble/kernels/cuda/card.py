"""A CUDA device through CuPy: copies, products, and the kernels of the `.cu` files in this folder.

Only this file names cupy. All other code uses its functions, so that tests can replace them by the same kernels
compiled for the CPU.
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
OPTIONS = ("-std=c++17", "--fmad=false")  # products and sums are rounded separately, as on the CPU
THREADS = 128
BLOCKS = 16  # per multiprocessor, for grids of fixed size
CUDA_R_16F, CUDA_R_32F = 2, 0
STAGED = 1 << 25  # bytes of one page-locked upload buffer
PINNED_MOST = 1 << 28  # results up to so many bytes are downloaded through page-locked memory
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
    """Kernel name -> parameters: type, and whether it is a pointer."""
    found: dict[str, list[tuple[Any, bool]]] = {}
    for name, parameters in re.findall(r'extern "C" __global__ void (\w+)\((.*?)\)\s*\{', code, re.DOTALL):
        each = [re.fullmatch(r"(?:const )?(.+?)(\*?) \w+", " ".join(p.split())) for p in parameters.split(",")]
        found[name] = [(C_TYPES[m[1]], bool(m[2])) for m in each if m]
    return found


SIGNATURES = signatures(CODE)


def problem() -> str | None:
    """None if a CUDA device answers, else the reason."""
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device answers ({error})"
    return None if count else "there is no CUDA device"


def devices() -> int:
    """Number of devices."""
    return int(cupy.cuda.runtime.getDeviceCount())


def current() -> int:
    """Number of the current device."""
    return int(cupy.cuda.Device().id)


def on(number: int) -> Any:
    """A context in which this device is current."""
    return cupy.cuda.Device(number)


def free_memory() -> int:
    """Free bytes on the device, unused memory in CuPy's pool included."""
    return int(cupy.cuda.runtime.memGetInfo()[0]) + int(cupy.get_default_memory_pool().free_bytes())


@functools.cache
def _attributes(number: int) -> tuple[int, int]:
    device = cupy.cuda.Device(number)
    return device.attributes["MultiProcessorCount"], device.attributes["MaxSharedMemoryPerBlockOptin"]


def resident_blocks() -> int:
    """Blocks of a grid of fixed size that keeps the device busy."""
    return _attributes(current())[0] * BLOCKS


def shared_memory() -> int:
    """Bytes of dynamic shared memory that a block of threads may use."""
    return _attributes(current())[1] - 4096


@functools.cache
def _function(name: str, number: int) -> Any:
    return _module(number).get_function(name)


@functools.cache
def _module(number: int) -> Any:
    return cupy.RawModule(code=CODE, options=OPTIONS)


def launch(name: str, blocks: int, *arguments: Any, threads: int = THREADS, shared: int = 0) -> None:
    """Start a kernel on `blocks` blocks of threads. Pointers take arrays or None; other parameters take numbers.

    Raises:
        TypeError: wrong number or types of arguments.
    """
    if not blocks:
        return
    kernel = _function(name, current())
    if shared > kernel.max_dynamic_shared_size_bytes:
        kernel.max_dynamic_shared_size_bytes = shared
    kernel((blocks,), (threads,), converted(name, arguments), shared_mem=shared)


def converted(name: str, arguments: tuple) -> tuple:
    """The arguments as the kernel's C types; TypeError for wrong types."""
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
    """The device address of an array."""
    return int(array.data.ptr)


def half_product(left: Any, right: Any, out: Any) -> None:
    """out (B, C) float32 = left (B, D) times right (C, D) transposed, both float16 bits, summed in float32.

    C is a multiple of 8, so that each row of out is aligned to 16 bytes. With C = 19,281 an H200 reached 97 of 709
    TFLOP/s. That alignment is the reason is a guess until the padded product is measured.
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
    """A copy on the device. Large arrays go through two page-locked buffers, which several threads fill in turn."""
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
    """A copy in host memory."""
    if not 0 < array.nbytes <= PINNED_MOST:
        return array.get()
    out: NDArray = cupyx.empty_pinned(array.shape, array.dtype)
    array.get(out=out)
    return out


def adopt(array: Any) -> Any:
    """A device array as a contiguous float32 CuPy array (N, D); copied only if needed."""
    return xp.ascontiguousarray(xp.from_dlpack(array), np.float32)
