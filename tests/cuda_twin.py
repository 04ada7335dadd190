"""A CUDA device that is none: the kernels' own text compiled for this CPU, and NumPy in the place of CuPy.

The engine names cupy in `ensemble/kernels/cuda/card.py` alone; `stand_in` replaces what that file offers. A block's
threads are fibres that take turns from one barrier or shuffle to the next, so a missing __syncthreads shows.
"""

import contextlib
import ctypes
import shutil
import subprocess
import threading

import numpy as np
import pytest

THREADS = 32

SHIM = r"""
#include <cmath>
#include <csetjmp>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>
#define TWIN
#define __device__ static
#define __global__
#define __shared__ static
#define DYNAMIC_SHARED(name) static unsigned char* name = own
struct Index { unsigned int x; };
struct float4 { float x, y, z, w; };
static Index threadIdx, blockIdx, blockDim, gridDim;
alignas(16) static unsigned char own[1 << 18];
static const unsigned int MOST = 256;
static ucontext_t fibres[MOST];
static jmp_buf home, places[MOST];
static bool begun[MOST], finished[MOST];
static std::function<void()> body;
template <class T, class F> static T bits_of(F v) { T b; std::memcpy(&b, &v, sizeof(b)); return b; }
static unsigned int __float_as_uint(float v) { return bits_of<unsigned int>(v); }
static float __uint_as_float(unsigned int u) { return bits_of<float>(u); }
static unsigned short half_bits(float v) { return bits_of<unsigned short>((_Float16)v); }
static float half_value(unsigned short b) { return (float)bits_of<_Float16>(b); }
static void rest() { if (!_setjmp(places[threadIdx.x])) _longjmp(home, 1); }
struct Barrier { unsigned int arrived, turn; };
static Barrier block_barrier, warp_barriers[MOST / 32];
static void meet(Barrier& b, unsigned int first, unsigned int last) {
    unsigned int wanted = 0, turn = b.turn;
    for (unsigned int t = first; t < last; ++t) wanted += !finished[t];
    if (++b.arrived >= wanted) { b.arrived = 0; ++b.turn; }
    while (b.turn == turn) {
        rest();
        wanted = 0;
        for (unsigned int t = first; t < last; ++t) wanted += !finished[t];
        if (b.turn == turn && b.arrived >= wanted) { b.arrived = 0; ++b.turn; }
    }
}
static void __syncthreads() { meet(block_barrier, 0, blockDim.x); }
template <class T> static T __shfl_xor_sync(unsigned int, T v, int apart) {
    static T slots[MOST];
    unsigned int me = threadIdx.x, first = me / 32 * 32;
    slots[me] = v;
    meet(warp_barriers[me / 32], first, first + 32);
    T theirs = slots[me ^ apart];
    meet(warp_barriers[me / 32], first, first + 32);
    return theirs;
}
template <class T> static T atomicAdd(T* at, T by) { T before = *at; *at += by; return before; }
template <class T> static T atomicOr(T* at, T by) { T before = *at; *at |= by; return before; }
template <class T> static T atomicExch(T* at, T by) { T before = *at; *at = by; return before; }
template <class T> static T atomicMax(T* at, T by) { T before = *at; if (by > before) *at = by; return before; }
template <class T> static T atomicMin(T* at, T by) { T before = *at; if (by < before) *at = by; return before; }
template <class T> static T atomicCAS(T* at, T old, T by) { T was = *at; if (was == old) *at = by; return was; }
template <class T> static T __ldcg(const T* at) { return *at; }
static void run() { body(); finished[threadIdx.x] = true; _longjmp(home, 1); }
static void resume(unsigned int t) {
    threadIdx.x = t;
    if (_setjmp(home)) return;
    if (begun[t]) _longjmp(places[t], 1);
    begun[t] = true;
    setcontext(&fibres[t]);
}
static void launch(int blocks, unsigned int threads, std::function<void()> kernel) {
    static std::vector<char> stacks(MOST << 16);
    body = kernel;
    blockDim.x = threads;
    gridDim.x = blocks;
    for (int b = 0; b < blocks; ++b) {
        blockIdx.x = b;
        std::memset(own, 0x5a, sizeof(own));
        for (unsigned int t = 0; t < threads; ++t) {
            getcontext(&fibres[t]);
            fibres[t].uc_stack.ss_sp = &stacks[t << 16];
            fibres[t].uc_stack.ss_size = 1 << 16;
            begun[t] = finished[t] = false;
            makecontext(&fibres[t], run, 0);
        }
        for (bool waiting = true; waiting;) {
            waiting = false;
            for (unsigned int t = threads; t-- > 0;) {
                if (finished[t]) continue;
                resume(t);
                waiting = waiting || !finished[t];
            }
        }
    }
}
"""
NAMES = {np.int32: "int", np.int64: "long long", np.uint32: "unsigned int", np.uint64: "unsigned long long"}
NAMES |= {np.float32: "float", np.float64: "double", np.uint16: "unsigned short"}
PLAIN = {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong, np.float32: ctypes.c_float, np.float64: ctypes.c_double}


def entries(signatures):
    """A function `run_NAME(blocks, threads, ...)` for every kernel."""
    for name, parameters in signatures.items():
        taken = ", ".join(f"{NAMES[kind]}{'*' * pointer} a{i}" for i, (kind, pointer) in enumerate(parameters))
        given = ", ".join(f"a{i}" for i in range(len(parameters)))
        head = f'extern "C" void run_{name}(int blocks, int threads, {taken})'
        yield f"{head} {{ launch(blocks, threads, [&] {{ {name}({given}); }}); }}\n"


class There(np.ndarray):
    """An array of this machine's memory that says it lies on a CUDA device."""

    def __dlpack_device__(self):
        return 2, 0


class Xp:
    """NumPy with the few manners in which CuPy differs."""

    def __getattr__(self, name):
        found = getattr(np, name)
        if not callable(found) or isinstance(found, type):
            return found

        def call(*given, **options):
            out = found(*given, **options)
            return out.view(There) if isinstance(out, np.ndarray) else out

        return call

    def from_dlpack(self, array):
        return np.asarray(array).view(There)


class Card:
    """The functions of `card.py` that reach for a device, on this machine's memory."""

    def __init__(self, library, memory=1 << 30, shared=1 << 17, devices=1, threads=THREADS):
        self.library, self.memory, self.shared, self.count, self.threads = library, memory, shared, devices, threads
        self.launched: set[str] = set()
        self.uploaded = 0
        self.lock = threading.Lock()

    def launch(self, name, blocks, *arguments, threads=None, shared=0):
        from ensemble.kernels.cuda import card

        assert shared <= self.shared
        if not blocks:
            return
        self.launched.add(name)
        plain = []
        for (kind, pointer), given in zip(card.SIGNATURES[name], card.converted(name, arguments), strict=True):
            if not pointer:
                plain.append(PLAIN[kind](given))
            elif isinstance(given, np.ndarray):
                plain.append(ctypes.c_void_p(given.ctypes.data))
            else:
                plain.append(ctypes.c_void_p(None))
        with self.lock:  # the fibres are one set
            getattr(self.library, f"run_{name}")(blocks, self.threads, *plain)

    def half_product(self, left, right, out):
        a, b = (np.asarray(x).view(np.float16).astype(np.float32) for x in (left, right))
        out[:] = a @ b.T

    def upload(self, array):
        self.uploaded += array.nbytes
        return np.array(array).view(There)

    def patch(self, monkeypatch):
        """In the place of `card`'s functions."""
        from ensemble.kernels.cuda import card

        theirs = {
            "xp": Xp(),
            "launch": self.launch,
            "half_product": self.half_product,
            "upload": self.upload,
            "download": lambda array: np.array(array),
            "address": lambda array: array.ctypes.data,
            "free_memory": lambda: self.memory,
            "shared_memory": lambda: self.shared,
            "resident_blocks": lambda: 8,
            "devices": lambda: self.count,
            "current": lambda: 0,
            "on": lambda number: contextlib.nullcontext(),
            "problem": lambda: None,
            "adopt": lambda array: np.ascontiguousarray(array, np.float32).view(There),
        }
        for name, value in theirs.items():
            monkeypatch.setattr(card, name, value)


def compiled(folder):
    """The library of all kernels."""
    from ensemble.kernels.cuda import card

    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the CUDA kernels' text for the CPU")
    (folder / "twin.cpp").write_text(SHIM + card.CODE + "".join(entries(card.SIGNATURES)))
    command = [compiler, "-std=c++17", "-O1", "-msse2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    done = subprocess.run(
        [*command, "-o", "twin.so", "twin.cpp"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "twin.so"))
