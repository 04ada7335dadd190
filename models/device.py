"""Which device a member runs on, and the number format it computes in there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from configs.errors import ConfigError
from configs.store.manifest import versions

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(asked: str) -> tuple[torch.device, str]:
    """The device, and why.

    Raises:
        ConfigError: `cuda` was asked for and there is none.
    """
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("device 'cuda' cannot be used: torch finds no CUDA device here; use 'cpu' or 'auto'")
    if asked == "cuda" or (asked == "auto" and there):
        return torch.device("cuda"), torch.cuda.get_device_name()
    return torch.device("cpu"), f"cpu, {torch.get_num_threads()} threads" + ("" if there else ", no CUDA device")


def choose_precision(asked: str, device: torch.device) -> str:
    """`auto` is bfloat16 where the device computes in it, else float32.

    Raises:
        ConfigError: float16 on a CPU, where it only costs.
    """
    if asked == "float16" and device.type == "cpu":
        raise ConfigError("precision float16 on a CPU: it has no such arithmetic; use auto, bfloat16 or float32")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.backends.mkldnn.is_available() and _native_bf16() else "float32"


def _native_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulated it is slower than float32."""
    flags = torch.backends.cpu.get_cpu_capability()
    return bool(torch.cpu._is_avx512_bf16_supported()) or flags == "AMX"


def made_with() -> dict[str, str]:
    """What besides the request a result's last bits depend on: the packages, the threads, the CPU's arithmetic."""
    return {
        **versions(),
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in the precision; weights stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """Where work on a GPU repeats to the bit and can be captured; on a CPU nothing changes.

    cuDNN takes algorithms that repeat, and chooses them by rule: by timing, two processes might choose two. All of it
    is on a stream of its own, since the default one cannot be captured.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before, stream = (cudnn.deterministic, cudnn.benchmark), torch.cuda.Stream(device)
    cudnn.deterministic, cudnn.benchmark = True, False
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        torch.cuda.current_stream().wait_stream(stream)
        cudnn.deterministic, cudnn.benchmark = before
