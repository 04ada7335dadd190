"""Whole lists of features with copies and near-ties, as digests: the same on every kernel, for any workers and blocks.

`python -m tests.exact_lists` prints them as JSON, for `tests/test_exact.py` to compare under other OPENBLAS_CORETYPEs.
"""

import hashlib
import json
import sys

import numpy as np
from numpy.typing import NDArray

from ensemble import metrics, neighbours, rerank
from ensemble.neighbours import distance_blocks
from tests.features import unit_rows

N_QUERY = 50


def copies() -> NDArray[np.float32]:
    """60 pictures of 640 numbers, five exact copies of each, and 40 that lie within 1e-7 of one of them."""
    rng = np.random.default_rng(0)
    pictures = unit_rows(rng, 60, 640)
    near = pictures[:40] + 2e-5 * rng.standard_normal((40, 640), dtype=np.float32)
    feats = np.concatenate([np.tile(pictures, (5, 1)), near / np.linalg.norm(near, axis=1, keepdims=True)])
    return feats[rng.permutation(len(feats))]


def digests(feats: NDArray[np.float32], n_jobs: int, block: int) -> dict[str, str]:
    """Of plain and re-ranked whole lists, order and distances, of their first 60, and of a score."""
    near = neighbours.nearest(feats, 21, n_query=N_QUERY, top_k=60, near_share=1, n_jobs=n_jobs, device="cpu")
    given = {"n_jobs": n_jobs, "device": "cpu"}
    lists = {
        "plain": distance_blocks.ranked(distance_blocks.blocks(feats, N_QUERY, block=block, **given), None),
        "reranked": distance_blocks.ranked(rerank.blocks(near, feats, N_QUERY, block=block, **given), None),
    }
    pids = np.arange(len(feats)) % 20
    score = metrics.evaluate_blocks(
        rerank.blocks(near, feats, N_QUERY, block=block, **given), pids[:N_QUERY], pids[N_QUERY:]
    )
    out = {name: digest(order, dist) for name, (order, dist) in lists.items()}
    out |= {f"{name}, first 60": digest(order[:, :60], dist[:, :60]) for name, (order, dist) in lists.items()}
    return out | {"score": digest(score.ap_per_query)}


def digest(*arrays: NDArray) -> str:
    """12 hex digits of arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:12]


if __name__ == "__main__":
    json.dump(digests(copies(), 2, 17), sys.stdout)
