"""Half-precision products on the matrix units of a CPU (Intel AMX): a filter several times faster than float32.

The instructions alone: `half_precision.py` lays features out for them. Sums are float32. Compiled kernels are kept by
the file that holds them: after a change here, touch `half_precision.py` too.
Reference: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPFP16PS and TDPBF16PS.
"""

import ctypes
import functools
import platform
import sys
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from ensemble.kernels.compile import intrinsic, types

FLOAT16, BFLOAT16 = 1, 2
Emitted = tuple[Any, Callable[..., Any]]  # a signature and what writes the code: numba's form of an intrinsic
ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18

_MULTIPLY = """
tilezero %tmm0
tilezero %tmm1
tilezero %tmm2
tilezero %tmm3
mov $0, %r8
mov $1, %r9
mov $2, %r10
mov $3, %r11
mov $4, %rcx
mov $$64, %rax
1:
tileloadd (%r8,%rax,1), %tmm4
tileloadd (%r10,%rax,1), %tmm6
tileloadd (%r11,%rax,1), %tmm7
OP %tmm6, %tmm4, %tmm0
tileloadd (%r9,%rax,1), %tmm5
OP %tmm7, %tmm4, %tmm1
OP %tmm6, %tmm5, %tmm2
OP %tmm7, %tmm5, %tmm3
add $$1024, %r8
add $$1024, %r9
add $$1024, %r10
add $$1024, %r11
dec %rcx
jnz 1b
mov $5, %r8
mov $6, %rax
tilestored %tmm0, (%r8,%rax,1)
tilestored %tmm1, 64(%r8,%rax,1)
mov %rax, %rcx
shl $$4, %rcx
add %rcx, %r8
tilestored %tmm2, (%r8,%rax,1)
tilestored %tmm3, 64(%r8,%rax,1)
"""
_CLOBBERS = "~{rax},~{rcx},~{r8},~{r9},~{r10},~{r11},~{memory},~{cc}"


@functools.cache
def formats() -> tuple[int, ...]:
    """The formats that this CPU and Linux kernel can multiply, best first: float16 has an eighth of bfloat16's error.

    Linux gives the tile registers only on request. Without this call, their first use kills the process.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return ()
    host = llvm.get_host_cpu_features()
    found = [f for f, name in ((FLOAT16, "amx-fp16"), (BFLOAT16, "amx-bf16")) if host.get(name) and host.get("f16c")]
    if not found or not host.get("amx-tile"):
        return ()
    if ctypes.CDLL(None).syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA):
        return ()
    llvm.initialize_native_asmparser()
    return tuple(found)


def _machine_code(text: str, constraints: str, n_arguments: int) -> Emitted:
    """A function of n addresses or counts (int64) that runs this machine code and returns nothing."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * n_arguments)
        builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), list(args))
        return context.get_dummy_value()

    return types.void(*[types.int64] * n_arguments), emit


@intrinsic
def configure(typing_context: Any, config: Any) -> Emitted:
    return _machine_code("ldtilecfg ($0)", "r,~{memory}", 1)


@intrinsic
def release(typing_context: Any) -> Emitted:
    return _machine_code("tilerelease", "~{memory}", 0)


@intrinsic
def multiply_float16(
    typing_context: Any, a0: Any, a1: Any, b0: Any, b1: Any, steps: Any, out: Any, stride: Any
) -> Emitted:
    return _machine_code(_MULTIPLY.replace("OP", "tdpfp16ps"), "r,r,r,r,r,r,r," + _CLOBBERS, 7)


@intrinsic
def multiply_bfloat16(
    typing_context: Any, a0: Any, a1: Any, b0: Any, b1: Any, steps: Any, out: Any, stride: Any
) -> Emitted:
    return _machine_code(_MULTIPLY.replace("OP", "tdpbf16ps"), "r,r,r,r,r,r,r," + _CLOBBERS, 7)


@intrinsic
def bits_of_float16(typing_context: Any, x: Any) -> Emitted:
    """float32 rounded to float16, ties to even, as its 16 bits."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), emit


@intrinsic
def from_float16(typing_context: Any, x: Any) -> Emitted:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), emit
