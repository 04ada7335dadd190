"""The CUDA kernels: compiled by NVRTC, run thread by thread on the CPU, and on a device where there is one."""

import ctypes
import shutil
import subprocess
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from ensemble import device, neighbours, rerank
from ensemble.kernels.cuda_code import CODE, THREADS
from ensemble.source import source_of
from tests.features import clustered, signs, unit_rows

pytest.importorskip("cupy")
cuda = pytest.importorskip("ensemble.kernels.cuda")

# Enough of CUDA to run one block at a time: its threads take turns, from one __syncthreads to the next.
SHIM = r"""
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>
struct Index { unsigned int x; };
static Index threadIdx, blockIdx, blockDim;
static ucontext_t home, fibres[128];
static bool finished[128];
static std::function<void()> body;
#define __device__ static
#define __global__
#define __shared__ static
static unsigned int __float_as_uint(float v) { unsigned int u; std::memcpy(&u, &v, 4); return u; }
static float __uint_as_float(unsigned int u) { float v; std::memcpy(&v, &u, 4); return v; }
static void __syncthreads() { swapcontext(&fibres[threadIdx.x], &home); }
template <class T> T atomicAdd(T* at, T by) { T before = *at; *at += by; return before; }
static void atomicMin(unsigned int* at, unsigned int by) { if (by < *at) *at = by; }
static void run() { body(); finished[threadIdx.x] = true; }
static void launch(int blocks, unsigned int threads, std::function<void()> kernel) {
    static std::vector<char> stacks(128 << 16);
    body = kernel;
    blockDim.x = threads;
    for (int b = 0; b < blocks; ++b) {
        blockIdx.x = b;
        for (unsigned int t = 0; t < threads; ++t) {
            getcontext(&fibres[t]);
            fibres[t].uc_stack.ss_sp = &stacks[t << 16];
            fibres[t].uc_stack.ss_size = 1 << 16;
            fibres[t].uc_link = &home;
            finished[t] = false;
            makecontext(&fibres[t], run, 0);
        }
        for (bool waiting = true; waiting;) {
            waiting = false;
            for (unsigned int t = threads; t-- > 0;) {
                if (finished[t]) continue;
                threadIdx.x = t;
                swapcontext(&home, &fibres[t]);
                waiting = waiting || !finished[t];
            }
        }
    }
}
"""
ENTRIES = r"""
extern "C" void run_select(int blocks, int threads, const float* sim, long long stride, int width, int k, float slack,
                           int capacity, int low_capacity, int* where, int* held, int* low_where, int* low_held) {
    launch(blocks, threads, [&] {
        select_rows(sim, stride, width, k, slack, capacity, low_capacity, where, held, low_where, low_held); });
}
extern "C" void run_dots(int blocks, int threads, const float* feats, long long dims, long long row, long long column,
                         const int* where, const int* held, int capacity, double weight, double* out) {
    launch(blocks, threads, [&] { add_dots(feats, dims, row, column, where, held, capacity, weight, out); });
}
extern "C" void run_penalise(int blocks, int threads, float* sim, long long stride, int width, long long row,
                             const long long* labels, float amount) {
    launch(blocks, threads, [&] { penalise(sim, stride, width, row, labels, amount); });
}
"""


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The kernels' own text, compiled for this CPU."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the CUDA kernels' text for the CPU")
    folder = tmp_path_factory.mktemp("twin")
    (folder / "twin.cpp").write_text(SHIM + CODE + ENTRIES)
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-o", "twin.so", "twin.cpp"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "twin.so"))


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def selected(twin, sim, width, k, slack, capacity):
    rows = len(sim)
    where, low = np.full((rows, capacity), -7, np.int32), np.full((rows, 4), -7, np.int32)
    held, low_held = np.empty(rows, np.int32), np.empty(rows, np.int32)
    twin.run_select(
        rows, 16, pointer(sim), ctypes.c_longlong(sim.shape[1]), width, k, ctypes.c_float(slack), capacity, 4,
        pointer(where), pointer(held), pointer(low), pointer(low_held),
    )  # fmt: skip
    return where, held, low, low_held


@pytest.mark.parametrize("k", [1, 7, 60, 500])
def test_selection_keeps_what_may_be_among_the_k_largest(twin, k):
    rng = np.random.default_rng(k)
    sim = rng.standard_normal((6, 70)).astype(np.float32)
    sim[3] = np.round(sim[3])  # ties
    sim[4] = 0.25
    where, held, low, low_held = selected(twin, sim, 60, k, 0.125, 60)
    for i in range(6):
        row = sim[i, :60]
        bar = np.sort(row)[::-1][min(k, 60) - 1] - np.float32(0.125)
        assert sorted(where[i, : held[i]]) == list(np.flatnonzero(row >= bar))
        nearly = list(np.flatnonzero(row <= row.min() + np.float32(0.125)))
        assert low_held[i] == (len(nearly) if len(nearly) <= 4 else -1)
        assert low_held[i] < 0 or sorted(low[i, : low_held[i]]) == nearly


def test_selection_says_when_candidates_do_not_fit(twin):
    sim = np.tile(np.arange(40, dtype=np.float32), (2, 1))
    sim[1] = 1
    _, held, _, _ = selected(twin, sim, 40, 5, 0.0, 8)
    assert list(held) == [5, -1]


def test_rescoring_sums_in_float64(twin):
    rng = np.random.default_rng(0)
    feats = unit_rows(rng, 30, 50)
    where = rng.integers(0, 20, (4, 6)).astype(np.int32)
    held, out = np.array([6, 0, -1, 3], np.int32), np.ones((4, 6))
    twin.run_dots(
        4, THREADS, pointer(feats), ctypes.c_longlong(50), ctypes.c_longlong(5), ctypes.c_longlong(10),
        pointer(where), pointer(held), 6, ctypes.c_double(0.5), pointer(out),
    )  # fmt: skip
    for i in range(4):
        for c in range(6):
            dot = feats[5 + i].astype(float) @ feats[10 + where[i, c]].astype(float)
            assert out[i, c] == pytest.approx(1 + (0.5 * dot if c < held[i] else 0), abs=1e-15)


def test_penalty_spares_the_image_itself(twin):
    labels, sim = np.array([0, 1, 0, -1, -1], np.int64), np.ones((3, 5), np.float32)
    twin.run_penalise(
        3, 8, pointer(sim), ctypes.c_longlong(5), 5, ctypes.c_longlong(2), pointer(labels), ctypes.c_float(0.25)
    )
    np.testing.assert_array_equal(sim, [[0.75, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]])


class Here(np.ndarray):
    """An array of CuPy's manners in this machine's memory."""

    def get(self):
        return np.asarray(self)


class Stand:
    """As much of the module cupy as the search uses, the kernels being their twins on this CPU."""

    float16, float32, float64, int32 = np.float16, np.float32, np.float64, np.int32
    asarray = staticmethod(lambda a: np.array(a).view(Here))
    empty = staticmethod(lambda shape, dtype: np.empty(shape, dtype).view(Here))
    zeros = staticmethod(lambda shape: np.zeros(shape).view(Here))
    sqrt, minimum = staticmethod(np.sqrt), staticmethod(np.minimum)
    names: ClassVar = {"select_rows": "run_select", "add_dots": "run_dots", "penalise": "run_penalise"}
    types: ClassVar = {np.int32: ctypes.c_int, np.int64: ctypes.c_longlong, np.float32: ctypes.c_float}

    def __init__(self, twin):
        self.twin = twin

    def RawModule(self, code):
        return self

    def get_function(self, name):
        def launch(grid, block, arguments):
            kinds = self.types | {np.float64: ctypes.c_double}
            plain = [pointer(a) if isinstance(a, np.ndarray) else kinds[type(a)](a) for a in arguments]
            getattr(self.twin, self.names[name])(grid[0], 8, *plain)

        return launch


@pytest.mark.parametrize("case", ["members", "ties", "penalty", "copies"])
def test_the_search_on_a_stand_in_gives_the_lists_of_the_cpu(twin, monkeypatch, case):
    """What surrounds the kernels, with products by NumPy: bounds, candidates, rescoring, rows that did not fit."""
    rng = np.random.default_rng(1)
    feats = [signs(rng, 300, 4)] if case == "ties" else [clustered(rng, 300, 32, 20), unit_rows(rng, 300, 20)]
    if case == "copies":  # more than a list of candidates holds
        feats = [np.repeat(unit_rows(rng, 2, 16), 150, axis=0)]
    weights = [1.0, 0.5][: len(feats)]
    penalties = [(rng.integers(-1, 4, 300), 0.1)] if case == "penalty" else None
    stand = Stand(twin)
    stand.cuda = SimpleNamespace(runtime=SimpleNamespace(memGetInfo=lambda: (4 * 300 * 4 * 70, 0)))
    monkeypatch.setattr(cuda, "cupy", stand)

    def products(halves, rows, out):
        out[:] = sum(h[rows].astype(np.float32) @ h.astype(np.float32).T for h in halves)

    monkeypatch.setattr(cuda, "_products", products)
    source = source_of(feats, weights, penalties)
    there = neighbours.Neighbours(*cuda.search(source, 11, 40, 9))
    here = neighbours.nearest(source, 11, n_query=40, top_k=9, device="cpu")
    for name in ("order", "sim", "least", "near_order", "near_sim"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    order, sim = cuda.gallery(source, 40, 9)
    np.testing.assert_array_equal(order, here.near_order)
    np.testing.assert_array_equal(sim, here.near_sim)


@pytest.mark.parametrize("arch", ["compute_80", "compute_90"])
def test_kernels_compile(arch):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    program = nvrtc.createProgram(CODE, "search.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={arch}", "-std=c++17"))
        text = nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        pytest.fail(f"{error}: {nvrtc.getProgramLog(program)}")
    finally:
        nvrtc.destroyProgram(program)
    text = text if isinstance(text, str) else text.decode()
    for name in ("select_rows", "add_dots", "penalise"):
        assert f".entry {name}" in text


def test_device_is_chosen_aloud(caplog):
    with caplog.at_level("INFO"):
        chosen = device.choose("auto")
    assert f"retrieval on {chosen}" in caplog.text
    assert device.choose("cpu") == "cpu"
    if device.cuda_problem():
        with pytest.raises(ValueError, match="'cuda' cannot be used: "):
            device.choose("cuda")


gpu = pytest.mark.skipif(device.cuda_problem() is not None, reason=f"no GPU: {device.cuda_problem()}")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("case", ["members", "ties", "penalty"])
def test_device_and_cpu_give_the_same_lists(case):
    rng = np.random.default_rng(0)
    feats = [signs(rng, 3000, 16)] if case == "ties" else [clustered(rng, 3000, 64, 200), unit_rows(rng, 3000, 40)]
    options = {"weights": [1.0, 0.5][: len(feats)], "n_query": 500, "top_k": 100}
    if case == "penalty":
        options["penalties"] = [(rng.integers(-1, 4, 3000), 0.1)]
    there, here = (neighbours.nearest(feats, 21, device=d, **options) for d in ("cuda", "cpu"))
    for name in ("order", "sim", "least", "near_order", "near_sim"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    settings = {"weights": options["weights"], "penalties": options.get("penalties"), "top_k": 100}
    one, other = (rerank.k_reciprocal(found, feats, 500, **settings) for found in (there, here))
    np.testing.assert_array_equal(one[0], other[0])
