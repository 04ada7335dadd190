"""Other weights from a pool of candidates against a search: seconds and, with --check, how many lists are wrong.

`python -m tests.benchmarks.reweigh [--size 3368x15913] [--members 5]`. Members see one latent person each in their own
way, and add noise: they agree as networks trained on the same pictures do.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble import neighbours, rerank
from ensemble.neighbours.similarity import MemberFeatures, as_source
from ensemble.tune import candidates

K, TOP_K = 41, 200
LATENT, OWN, NOISE = 96, 0.6, 0.4
WEIGHTINGS = (
    (1, 1, 1, 1, 0.75),
    (1, 1, 1, 1, 1.5),
    (1, 0.5, 1, 0.5, 0.75),
    (1, 0.2, 0.5, 0.1, 0.9),
    (1, 1, 1, 1, 0),
)


def agreeing(n: int, dim: int, members: int) -> list[NDArray[np.float32]]:
    """(n, dim) unit rows each; 25 images a person."""
    rng, people = np.random.default_rng(0), max(1, n // 25)
    seen = rng.standard_normal((people, LATENT), dtype=np.float32)[np.arange(n) % people]
    seen += 0.8 * rng.standard_normal((n, LATENT), dtype=np.float32)
    out = []
    for _ in range(members):
        mine = seen + OWN * rng.standard_normal(seen.shape, dtype=np.float32)
        feats = mine @ rng.standard_normal((LATENT, dim), dtype=np.float32) / LATENT**0.5
        feats += NOISE * rng.standard_normal((n, dim), dtype=np.float32)
        out.append((feats / np.linalg.norm(feats, axis=1, keepdims=True)).astype(np.float32))
    return out


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds that it took."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


def share_wrong(found: neighbours.Neighbours, source: MemberFeatures, n_query: int) -> float:
    """Rows whose lists are not those of a search."""
    exact = neighbours.nearest(source, K, n_query=n_query, top_k=TOP_K)
    wrong = (found.order != exact.order).any(axis=1)
    wrong[:n_query] |= (found.near_order != exact.near_order[:, :TOP_K]).any(axis=1)
    return float(wrong.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3368x15913", help="QUERYxGALLERY")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="search under every weighting, and count the wrong rows")
    chosen = parser.parse_args()
    q, g = map(int, chosen.size.split("x"))
    small = agreeing(600, 64, chosen.members)
    warm = candidates.collect_candidates(small, K, 100, 20)
    rerank.k_reciprocal(candidates.nearest(warm, [1.0] * chosen.members), small, 100, top_k=20)
    source = as_source(agreeing(q + g, 2048, chosen.members))
    _, search = timed(lambda: neighbours.nearest(source, K, n_query=q, top_k=TOP_K))
    pool, gather = timed(lambda: candidates.collect_candidates(source, K, q, TOP_K))
    held = (pool.dist.nbytes + pool.index.nbytes) / 2**30
    print(
        f"search {search:.2f} s; pool {gather:.1f} s, {pool.index.size / pool.n:.0f} candidates a row, "
        f"{held:.2f} GiB\n",
        flush=True,
    )
    print("| weights | lists wrong | pool s | re-ranked s |\n|---|---|---|---|")
    for weights in (w[: chosen.members] for w in WEIGHTINGS):
        near, seconds = timed(lambda w=weights: candidates.nearest(pool, w))
        weighted = source.weighted(weights)
        _, again = timed(lambda n=near, s=weighted: rerank.k_reciprocal(n, s, q, top_k=TOP_K))
        said = f"{100 * share_wrong(near, weighted, q):.2f} %" if chosen.check else "not checked"
        shown = ", ".join(f"{w:g}" for w in weights)
        print(f"| {shown} | {said} | {seconds:.3f} | {again:.3f} |", flush=True)


if __name__ == "__main__":
    main()
