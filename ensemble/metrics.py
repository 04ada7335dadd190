"""Rank-1, mAP, CMC and mINP, from ranked lists or from distances counted without sorting.

The score that teams report is weight * rank-1 + weight * mAP. A query's average precision is not one formula, and a
score says which it used: the sum of k / rank_k over its k hits is divided by

    hits           the hits inside the list; a query without one scores 0 and counts
    relevant       all relevant gallery images; a query that has none is skipped
    relevant_at_k  min(relevant, K); the same
    market         all relevant, over the whole gallery and with junk removed; a query that has none is skipped

Junk is what a query's list drops before ranks are counted: gallery images of its own identity and camera. An identity
below 0 is unknown: as a gallery image it is never right, as a query it is skipped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels import counts

AP_RULES = ("hits", "relevant", "relevant_at_k", "market")
JUNK_RULES = ("same_pid_same_cam", "none")
CMC_RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Score:
    """One evaluation and what it means.

    cmc: CMC at ranks 1, 5, 10. minp: mean of relevant / rank of the last relevant (0 where a cut list misses one).
    total: weighted rank-1 + mAP. scored + skipped = Q. ap_per_query (Q,) float64, NaN where skipped.
    """

    rank1: float
    map: float
    cmc: tuple[float, ...]
    minp: float
    total: float
    scored: int
    skipped: int
    ap: str
    signature: str
    ap_per_query: NDArray[np.float64] = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Labels:
    """Identities, cameras and rules, checked."""

    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_camids: NDArray[np.int64]
    gallery_camids: NDArray[np.int64]
    junk: str
    ap: str
    top_k: int | None


def _labels(
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None,
    gallery_camids: ArrayLike | None,
    ap: str,
    top_k: int | None,
    junk: str | None,
) -> _Labels:
    if ap not in AP_RULES:
        raise ValueError(f"unknown AP rule {ap!r}; the rules are: {', '.join(AP_RULES)}")
    if junk is not None and junk not in JUNK_RULES:
        raise ValueError(f"unknown junk rule {junk!r}; the rules are: {', '.join(JUNK_RULES)}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: want at least 1, or None for whole lists")
    if ap == "market" and top_k is not None:
        raise ValueError("ap 'market' is over the whole gallery: give no top_k, or use 'relevant' for cut lists")
    if (query_camids is None) != (gallery_camids is None):
        raise ValueError("cameras are given for one side alone: give both query_camids and gallery_camids, or neither")
    if junk is None:
        junk = "same_pid_same_cam" if ap == "market" and query_camids is not None else "none"
    if junk != "none" and query_camids is None:
        raise ValueError(f"junk rule {junk!r} needs cameras: give query_camids and gallery_camids, or junk='none'")
    pids = [np.asarray(a, np.int64).ravel() for a in (query_pids, gallery_pids)]
    cams = [
        np.zeros(p.size, np.int64) if c is None else np.asarray(c, np.int64).ravel()
        for p, c in zip(pids, (query_camids, gallery_camids), strict=True)
    ]
    for side, p, c in zip(("query", "gallery"), pids, cams, strict=True):
        if p.size != c.size or not p.size:
            raise ValueError(f"{side}: {p.size} identities and {c.size} cameras; want one each, and at least one")
    return _Labels(pids[0], pids[1], cams[0], cams[1], junk, ap, top_k)


def _relevance(labels: _Labels, query: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gallery indices that are right for a query, and those that are junk, both ascending."""
    pid = labels.query_pids[query]
    if pid < 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    same = np.flatnonzero(labels.gallery_pids == pid)
    if labels.junk == "none":
        return same, same[:0]
    junk = labels.gallery_camids[same] == labels.query_camids[query]
    return same[~junk], same[junk]


def _clean_ranks(right: NDArray, junk: NDArray) -> NDArray[np.int64]:
    """Ranks from 1 of the right images once the junk is gone; both are ranks in the full list."""
    right = np.sort(right)
    return right - np.searchsorted(np.sort(junk), right)


def _score(
    labels: _Labels,
    ranks: list[NDArray[np.int64]],
    relevant: NDArray[np.int64],
    weights: tuple[float, float],
    length: int,
    extra: Mapping[str, object] | None,
) -> Score:
    n = len(ranks)
    ap, inp, first = np.full(n, np.nan), np.zeros(n), np.full(n, np.iinfo(np.int64).max)
    for q, found in enumerate(ranks):
        if labels.query_pids[q] < 0 or (relevant[q] == 0 and labels.ap != "hits"):
            continue
        least = {"hits": found.size, "relevant_at_k": min(relevant[q], labels.top_k or length)}
        ap[q] = (np.arange(1, found.size + 1) / found).sum() / max(1, least.get(labels.ap, relevant[q]))
        if found.size:
            first[q] = found[0]
            inp[q] = found.size / found[-1] if found.size == relevant[q] else 0.0
    kept = ~np.isnan(ap)
    scored = int(kept.sum())
    if not scored:
        raise ValueError("no query can be scored: none has a right image in the gallery")
    cmc = tuple(float(np.mean(first[kept] <= r)) for r in CMC_RANKS)
    mean_ap = float(ap[kept].mean())
    facts = {
        "ap": labels.ap,
        "k": labels.top_k or length,
        "junk": labels.junk,
        "scored": scored,
        "skipped": n - scored,
        "weights": f"{weights[0]:g}*rank1+{weights[1]:g}*map",
        **(extra or {}),
    }
    signature = "|".join(f"{key}={value}" for key, value in facts.items())
    total = weights[0] * cmc[0] + weights[1] * mean_ap
    return Score(cmc[0], mean_ap, cmc, float(inp[kept].mean()), total, scored, n - scored, labels.ap, signature, ap)


def evaluate(
    order: ArrayLike,
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None = None,
    gallery_camids: ArrayLike | None = None,
    *,
    ap: str = "market",
    top_k: int | None = None,
    junk: str | None = None,
    weights: tuple[float, float] = (0.5, 0.5),
    extra: Mapping[str, object] | None = None,
) -> Score:
    """Score ranked lists.

    Args:
        order: (Q, K) gallery indices, nearest first, no repeats. ap 'market' needs the whole gallery, K = G.
        top_k: keep this many of each list, counted after junk is removed; None keeps all.
        junk: same_pid_same_cam or none; None is the former for ap 'market' with cameras, else none.
        weights: of rank-1 and mAP in total.
        extra: what else the signature should say (settings, members, versions).

    Raises:
        ValueError: unknown rule, shapes that do not agree, indices outside the gallery, nothing to score.
    """
    labels = _labels(query_pids, gallery_pids, query_camids, gallery_camids, ap, top_k, junk)
    lists = np.asarray(order)
    n_query, n_gallery = labels.query_pids.size, labels.gallery_pids.size
    if lists.ndim != 2 or len(lists) != n_query:
        raise ValueError(f"order has shape {lists.shape}: want ({n_query}, K)")
    if lists.size and (lists.min() < 0 or lists.max() >= n_gallery):
        raise ValueError(f"order holds {lists.min()}..{lists.max()}: want gallery indices 0..{n_gallery - 1}")
    if ap == "market" and lists.shape[1] != n_gallery:
        raise ValueError(f"ap 'market' needs whole lists of {n_gallery}; these have {lists.shape[1]}: use 'relevant'")
    ranks, relevant = [], np.zeros(n_query, np.int64)
    place = np.zeros(n_gallery, np.int64)
    for q, row in enumerate(lists):
        right, bad = _relevance(labels, q)
        relevant[q] = right.size
        place[row] = np.arange(1, row.size + 1)
        found = _clean_ranks(place[right][place[right] > 0], place[bad][place[bad] > 0])
        place[row] = 0
        ranks.append(found if top_k is None else found[found <= top_k])
    return _score(labels, ranks, relevant, weights, lists.shape[1], extra)


def evaluate_blocks(
    blocks: Iterable[tuple[slice, NDArray[np.float32]]],
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None = None,
    gallery_camids: ArrayLike | None = None,
    *,
    ap: str = "market",
    top_k: int | None = None,
    junk: str | None = None,
    weights: tuple[float, float] = (0.5, 0.5),
    extra: Mapping[str, object] | None = None,
) -> Score:
    """Score streamed distances, (slice of queries, (b, G)) each, by counting: nothing is sorted.

    The same score as `evaluate` gives for those rows sorted with ties by lower index. Arguments as there.
    """
    labels = _labels(query_pids, gallery_pids, query_camids, gallery_camids, ap, top_k, junk)
    n_query, n_gallery = labels.query_pids.size, labels.gallery_pids.size
    ranks: list[NDArray[np.int64]] = []
    relevant = np.zeros(n_query, np.int64)
    for rows, dist in blocks:
        if rows.start != len(ranks) or dist.shape != (rows.stop - rows.start, n_gallery):
            raise ValueError(f"block {rows} of shape {dist.shape}: want consecutive rows of {n_gallery} distances")
        for q in range(rows.start, rows.stop):
            right, bad = _relevance(labels, q)
            relevant[q] = right.size
            found = counts.ranks_of(dist[q - rows.start], np.concatenate([right, bad]))
            found = _clean_ranks(found[: right.size], found[right.size :])
            ranks.append(found if top_k is None else found[found <= top_k])
    if len(ranks) != n_query:
        raise ValueError(f"blocks hold {len(ranks)} queries; {n_query} have identities")
    return _score(labels, ranks, relevant, weights, n_gallery, extra)
