"""Ranks of the right images in ranked lists, and how many right images there are, in plain NumPy.

Scoring a submission's lists is then done before numba would be imported. What is counted in distances, of which there
are more, is in `ensemble/kernels/rank_counts.py`; the four numbers of a query are the same there.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Facts = tuple[NDArray[np.float64], Ints, Ints, Ints]


def from_lists(
    order: NDArray[np.int32], pids: Ints, cams: Ints, gallery_pids: Ints, gallery_cams: Ints, junk: bool, top_k: int
) -> Facts:
    """Facts of ranked lists order (B, K), of each list's first top_k once junk is gone: (B,) each.

    The sum of k / rank_k over the right images found, how many were found, the first one's rank and the last one's,
    ranks from 1 and counted without junk; 0 where nothing was found, as of an identity below 0, which is unknown.
    """
    query, place = np.nonzero((gallery_pids[order] == pids[:, None]) & (pids >= 0)[:, None])
    dropped = gallery_cams[order[query, place]] == cams[query] if junk else np.zeros(query.size, bool)
    rank = place + 1 - (_running(query, dropped) - dropped)
    kept = ~dropped & (rank <= top_k)
    query, rank = query[kept], rank[kept]
    nth = _running(query, np.ones(query.size, bool))
    rows = len(order)
    total: NDArray[np.float64] = np.bincount(query, nth / rank, rows).astype(np.float64)
    found = np.bincount(query, minlength=rows).astype(np.int64)
    first, last = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    last[query] = rank  # of several the last is written last
    first[query[::-1]] = rank[::-1]
    return total, found, first, last


def _running(query: Ints, counted: NDArray[np.bool_]) -> Ints:
    """How many are counted of the same query up to each entry, itself included; queries in ascending order."""
    before = np.concatenate([[0], np.cumsum(counted)])
    begin = np.searchsorted(query, query)
    out: Ints = before[1:] - before[begin]
    return out


def relevant(pid_ptr: Ints, by_pid: Ints, group: Ints, query_cams: Ints, gallery_cams: Ints, junk: bool) -> Ints:
    """How many gallery images are right for each query: those of its group that are not junk; group -1 has none.

    pid_ptr, by_pid: the gallery images of each group, pointers and indices. group, query_cams: (Q,).
    """
    size = np.diff(pid_ptr)
    right = np.where(group >= 0, size[group], 0)
    if not junk:
        return right
    cams, camera = np.unique(np.concatenate([gallery_cams, query_cams]), return_inverse=True)
    there, asked = camera[: gallery_cams.size], camera[gallery_cams.size :]
    pairs = np.sort(np.repeat(np.arange(size.size), size) * cams.size + there[by_pid])
    wanted = group * cams.size + asked  # below 0, where nothing lies, for group -1
    same = np.searchsorted(pairs, wanted, "right") - np.searchsorted(pairs, wanted, "left")
    out: Ints = right - same
    return out
