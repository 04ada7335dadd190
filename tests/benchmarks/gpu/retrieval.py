"""The engine on a CUDA device: features to lists, settings, scores, with floors and a rival measured beside them.

`python -m tests.benchmarks.gpu --part retrieval`. Medians of runs after one that warms up; a run ends when its lists or
its score are on the host. Features are drawn: 25 images an identity around random centres. The floor of a figure is
what no engine goes below: the product of all pairs once, by symmetry half, at the rate of a large float16 product
measured here, and, for features of the host, their copy through page-locked memory.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
import torch

from ensemble import metrics, neighbours, rerank
from ensemble.kernels.cuda import card
from ensemble.neighbours import distance_blocks

K = 200
SIZES = {"market": (3368, 15913, 2048), "msmt": (11659, 82161, 2048), "million": (10_000, 1_000_000, 512)}
RIVAL_ROWS, RIVAL_QUERIES = 400, 100  # of the dense rival, whose time grows with each


def drawn(n: int, dims: int) -> Any:
    """(n, dims) float32 unit rows on the device, image i of identity i mod (n / 25)."""
    rng, people = cupy.random.default_rng(0), max(1, n // 25)
    centres = rng.standard_normal((people, dims), dtype=np.float32)
    out = cupy.empty((n, dims), np.float32)
    for start in range(0, n, people):
        part = out[start : start + people]
        part[:] = centres[: len(part)] + np.float32(1.2) * rng.standard_normal(part.shape, dtype=np.float32)
        part /= cupy.linalg.norm(part, axis=1, keepdims=True)
    return out


def clocked(run: Callable[[], object], repeats: int) -> float:
    """Median seconds of a run, after one that warms up."""
    run()
    times = []
    for _ in range(repeats):
        cupy.cuda.Device().synchronize()
        begun = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def row(what: str, run: Callable[[], object], floor: float | None, wanted: str, repeats: int, copied: int = 0) -> None:
    """One line of the table; what fails says so and stops nothing. copied: bytes of features that the run brings."""
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.used_bytes()
    try:
        seconds = f"{1000 * clocked(run, repeats):.1f} ms"
    except Exception as error:
        seconds = f"failed: {type(error).__name__}: {str(error)[:200]}"
    above = f"{(pool.total_bytes() - before - copied) / 2**30:.2f} GiB"
    print(
        f"| {what} | {seconds} | {'' if floor is None else f'{1000 * floor:.1f} ms'} | {wanted} | {above} |", flush=True
    )


def product_rate() -> float:
    """Operations a second of a large float16 product with float32 sums."""
    left = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    return 2 * 8192**3 / clocked(lambda: left @ left.T, 5)


def copy_rate() -> float:
    """Bytes a second from page-locked memory to the device."""
    import cupyx

    host, there = cupyx.empty_pinned(1 << 28, np.uint8), cupy.empty(1 << 28, np.uint8)
    host[:] = 1
    return (1 << 28) / clocked(lambda: there.set(host), 5)


def labels(n: int, n_query: int) -> tuple[np.ndarray, ...]:
    """Identities as drawn, and six cameras: of queries and gallery."""
    pids, cams = np.arange(n) % max(1, n // 25), np.random.default_rng(1).integers(0, 6, n)
    return pids[:n_query], pids[n_query:], cams[:n_query], cams[n_query:]


def figures(name: str, rate: float, copied: float, wanted: dict[str, str], repeats: int) -> None:
    """The rows of one size."""
    n_query, n_gallery, dims = SIZES[name]
    n, size = n_query + n_gallery, f"{n_query:,} x {n_gallery:,}, D {dims:,}"
    there = drawn(n, dims)
    product, copy = n * n * dims / rate, 4 * n * dims / copied
    here = cupy.asnumpy(there)

    def lists(feats: Any) -> Callable[[], object]:
        def run() -> object:
            near = neighbours.nearest(feats, 21, n_query=n_query, top_k=K, device="cuda")
            return rerank.k_reciprocal(near, feats, n_query, top_k=K, device="cuda")

        return run

    row(
        f"{size}: host arrays to re-ranked top-200 lists",
        lists(here),
        product + copy,
        wanted["host"],
        repeats,
        4 * n * dims,
    )
    row("the same, features on the card already", lists(there), product, wanted["card"], repeats)
    if "sweep" in wanted:
        near = neighbours.nearest(there, 31, n_query=n_query, top_k=K, device="cuda")
        other = {"k1": 25, "k2": 5, "lam": 0.4, "top_k": K, "device": "cuda"}
        row(
            "another (k1, k2, lam), neighbours kept",
            lambda: rerank.k_reciprocal(near, there, n_query, **other),
            None,
            wanted["sweep"],
            repeats,
        )
    if "score" in wanted:
        near, who = neighbours.nearest(there, 21, device="cuda"), labels(n, n_query)
        row(
            "the score of whole re-ranked lists, streamed, neighbours kept",
            lambda: metrics.evaluate_blocks(rerank.blocks(near, there, n_query, device="cuda"), *who),
            None,
            "",
            repeats,
        )

        def score() -> object:
            found = neighbours.nearest(here, 21, device="cuda")
            return metrics.evaluate_blocks(rerank.blocks(found, here, n_query, device="cuda"), *who)

        row(
            "the score of whole re-ranked lists from host arrays",
            score,
            product + copy,
            wanted["score"],
            repeats,
            4 * n * dims,
        )
    if "plain" in wanted:
        half = n_query * n_gallery * dims * 2 / rate
        row(
            "plain top-200 lists from host arrays",
            lambda: distance_blocks.rank(here, n_query, top_k=K, device="cuda"),
            half + copy,
            wanted["plain"],
            repeats,
            4 * n * dims,
        )


def dense_rival(feats: torch.Tensor, n_query: int, k1: int = 20, k2: int = 6, lam: float = 0.3) -> float:
    """Seconds of k-reciprocal re-ranking as people write it in torch: N x N distances, sets by a loop over rows.

    The loops are run for some rows and queries, and their time scaled to all. Written from the definition (Zhong,
    Zheng, Cao & Li, CVPR 2017) in the manner of public ports.
    """
    n = len(feats)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    dist = (2 - 2 * feats @ feats.T).clamp_(min=0)
    dist = (dist / dist.max(dim=0).values).T.contiguous()
    rank = dist.topk(k1 + 1, largest=False).indices
    v = torch.zeros_like(dist)
    torch.cuda.synchronize()
    once = time.perf_counter() - begun

    def reciprocal(i: int, k: int) -> torch.Tensor:
        forward = rank[i, : k + 1]
        return forward[(rank[forward, : k + 1] == i).any(dim=1)]

    begun = time.perf_counter()
    for i in range(RIVAL_ROWS):
        mine = expanded = reciprocal(i, k1)
        for j in mine.tolist():
            half = reciprocal(j, round(k1 / 2))
            if torch.isin(half, mine).sum() > 2 / 3 * len(half):
                expanded = torch.cat([expanded, half])
        expanded = expanded.unique()
        v[i, expanded] = torch.softmax(-dist[i, expanded], dim=0)
    torch.cuda.synchronize()
    rows = (time.perf_counter() - begun) * n / RIVAL_ROWS
    begun = time.perf_counter()
    v = v[rank[:, :k2]].mean(dim=1) if n < 8192 else torch.stack([v[r].mean(dim=0) for r in rank[:, :k2]])
    torch.cuda.synchronize()
    once += time.perf_counter() - begun
    begun = time.perf_counter()
    for i in range(RIVAL_QUERIES):
        shared = torch.minimum(v[i], v[n_query:]).sum(dim=1)
        ((1 - lam) * (1 - shared / (2 - shared)) + lam * dist[i, n_query:]).topk(K, largest=False)
    torch.cuda.synchronize()
    return once + rows + (time.perf_counter() - begun) * n_query / RIVAL_QUERIES


def profiled(run: Callable[[], object]) -> None:
    """Where the time of one run goes: every step of the device waited for, by name."""
    spent: dict[str, list[float]] = defaultdict(list)
    kept = {name: getattr(card, name) for name in ("launch", "half_product", "upload", "download")}

    def watched(name: str, function: Callable) -> Callable:
        def call(*given: Any, **options: Any) -> Any:
            cupy.cuda.Device().synchronize()
            begun = time.perf_counter()
            out = function(*given, **options)
            cupy.cuda.Device().synchronize()
            spent[given[0] if name == "launch" else name].append(time.perf_counter() - begun)
            return out

        return call

    for name, function in kept.items():
        setattr(card, name, watched(name, function))
    begun = time.perf_counter()
    try:
        run()
    finally:
        for name, function in kept.items():
            setattr(card, name, function)
    whole = time.perf_counter() - begun
    parts = sorted(spent.items(), key=lambda part: -sum(part[1]))
    print(f"\nwhere {1000 * whole:.1f} ms go, each step waited for:")
    print(", ".join(f"{name} {1000 * sum(times):.2f} ({len(times)})" for name, times in parts), flush=True)


def main(seconds: float = 240) -> None:
    """The table, as far as the time goes."""
    begun = time.perf_counter()
    rate, copied = product_rate(), copy_rate()
    print(
        f"\n{torch.cuda.get_device_name()}: float16 products {rate / 1e12:.0f} TFLOP/s, copies {copied / 1e9:.1f} GB/s"
    )
    print(
        "\n| retrieval | time | floor here | wanted | device memory above the features |\n|---|---|---|---|---|",
        flush=True,
    )
    market = {"host": "30 ms", "card": "10 ms", "sweep": "3 ms", "score": "40 ms", "plain": "15 ms"}
    figures("market", rate, copied, market, 7)
    if time.perf_counter() - begun < seconds / 2:
        figures("msmt", rate, copied, {"host": "300 ms", "card": "", "sweep": "10 ms"}, 3)
    if time.perf_counter() - begun < seconds / 2:
        cupy.get_default_memory_pool().free_all_blocks()
        figures("million", rate, copied, {"host": "10 s, 8 GiB above the features", "card": ""}, 1)
    n_query, n_gallery, dims = SIZES["market"]
    feats = drawn(n_query + n_gallery, dims)
    try:
        rival = dense_rival(torch.from_dlpack(feats), n_query)
        print(f"\ndense k-reciprocal in torch on this card (its loops on some rows, scaled): {rival:.1f} s", flush=True)
    except Exception as error:
        print(f"\ndense k-reciprocal in torch: failed: {error}", flush=True)
    near = neighbours.nearest(feats, 21, n_query=n_query, top_k=K, device="cuda")
    profiled(lambda: neighbours.nearest(feats, 21, n_query=n_query, top_k=K, device="cuda"))
    profiled(lambda: rerank.k_reciprocal(near, feats, n_query, top_k=K, device="cuda"))
    who = labels(n_query + n_gallery, n_query)
    profiled(lambda: metrics.evaluate_blocks(rerank.blocks(near, feats, n_query, device="cuda"), *who))
    profiled(lambda: neighbours.nearest(cupy.asnumpy(feats), 21, n_query=n_query, top_k=K, device="cuda"))


if __name__ == "__main__":
    main()
