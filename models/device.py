"""The device of a member, and its precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from configs.errors import ConfigError
from configs.store.manifest import versions

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(asked: str) -> tuple[torch.device, str]:
    """The device, and a text that describes it.

    Raises:
        ConfigError: `cuda` without a CUDA device.
    """
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ConfigError("device 'cuda': torch finds no CUDA device here; use 'cpu' or 'auto'")
    if asked == "cuda" or (asked == "auto" and there):
        return torch.device("cuda"), torch.cuda.get_device_name()
    return torch.device("cpu"), f"cpu, {torch.get_num_threads()} threads" + ("" if there else ", no CUDA device")


def choose_precision(asked: str, device: torch.device) -> str:
    """The precision. `auto` is bfloat16 if the device supports it natively, else float32.

    Raises:
        ConfigError: float16 on a CPU.
    """
    if asked == "float16" and device.type == "cpu":
        raise ConfigError("precision float16: a CPU does not compute in it; use auto, bfloat16 or float32")
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.backends.mkldnn.is_available() and _native_bf16() else "float32"


def _native_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware. Emulated it is slower than float32."""
    flags = torch.backends.cpu.get_cpu_capability()
    return bool(torch.cpu._is_avx512_bf16_supported()) or flags == "AMX"


def made_with() -> dict[str, str]:
    """Packages, threads and CPU instruction set: the last bits of a result depend on them."""
    return {
        **versions(),
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Compute in this precision. Weights stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """A context in which work on a GPU is deterministic and can be captured. No effect on a CPU.

    cuDNN uses deterministic algorithms and does not choose them by timing, since two processes could choose
    differently.
    The work runs on a separate stream, since the default stream cannot be captured.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = (cudnn.deterministic, cudnn.benchmark)
    stream = torch.cuda.Stream(device)
    cudnn.deterministic, cudnn.benchmark = True, False
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        torch.cuda.current_stream().wait_stream(stream)
        cudnn.deterministic, cudnn.benchmark = before
