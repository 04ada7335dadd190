"""Slow, independent answers: every definition written out from its paper with loops and sets, in float64.

Nothing here is shared with the code it checks, and nothing here is fast. Shapes: Q queries, G gallery, N = Q + G,
D feature size, B batch, C classes. Where a definition leaves something open, the docstring says what was chosen.
"""

import math
from collections.abc import Sequence

import numpy as np

# ---------------------------------------------------------------------------------------------------------------------
# Distance, fusion, ranking
# ---------------------------------------------------------------------------------------------------------------------


def cosine_distance(a: Sequence[float], b: Sequence[float]) -> float:
    """1 - <a, b> / (|a| |b|), clipped to its mathematical range [0, 2].

    The norm is sqrt(<a, a> <b, b>), so that an image is at exactly 0 from itself and from a copy of itself.

    Raises:
        ValueError: a zero or non-finite vector has no direction.
    """
    a, b = [float(x) for x in a], [float(x) for x in b]
    aa = math.fsum(x * x for x in a)
    bb = math.fsum(y * y for y in b)
    if not (0 < aa < math.inf and 0 < bb < math.inf):
        raise ValueError("a zero or non-finite row has no cosine")
    cos = math.fsum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(aa * bb)
    return 1.0 - min(1.0, max(-1.0, cos))


def fused_distance(feats: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """d(i, j) = sum_m w_m (1 - cos(a_m(i), a_m(j))).

    Args:
        feats: one (N, D_m) array a member, the same images in the same order.
        weights: one a member, >= 0.

    Returns:
        (N, N) float64.
    """
    if len(feats) != len(weights):
        raise ValueError(f"{len(feats)} members, {len(weights)} weights")
    n = len(feats[0])
    if any(len(bank) != n for bank in feats):
        raise ValueError("members list different numbers of images")
    dist = np.zeros((n, n))
    for bank, weight in zip(feats, weights, strict=True):
        rows = np.asarray(bank, dtype=np.float64).tolist()
        for i in range(n):
            for j in range(n):
                dist[i, j] += float(weight) * cosine_distance(rows[i], rows[j])
    return dist


def rank_list(row: Sequence[float], k: int | None = None) -> list[int]:
    """The first min(k, len(row)) indices of a row, nearest first, ties by lower index; k = None ranks them all."""
    row = [float(value) for value in row]
    if any(math.isnan(value) for value in row):
        raise ValueError("a NaN cannot be ranked")
    order = sorted(range(len(row)), key=lambda j: (row[j], j))
    return order if k is None else order[: max(0, k)]


# ---------------------------------------------------------------------------------------------------------------------
# Re-ranking: Zhong, Zheng, Cao & Li, CVPR 2017, in the form of the authors' Python port
# ---------------------------------------------------------------------------------------------------------------------


def scaled_distance(dist: np.ndarray, power: float) -> np.ndarray:
    """s(i, j) = d(i, j)^power / max_j d(i, j)^power, the maximum over all N columns; a row of zeros stays zeros."""
    n = len(dist)
    scaled = np.zeros((n, n))
    for i in range(n):
        raised = [float(dist[i, j]) ** power for j in range(n)]
        largest = max(raised)
        for j in range(n):
            scaled[i, j] = raised[j] / largest if largest > 0 else 0.0
    return scaled


def reciprocal_set(order: Sequence[Sequence[int]], i: int, k: int) -> set[int]:
    """R(i, k), eq. 2: the j in the first k of row i which have i in the first k of their own row.

    Rows hold the image itself by rank, not by right: with more than k exact copies, i may be missing from its own set.
    """
    return {j for j in order[i][:k] if i in order[j][:k]}


def expanded_set(order: Sequence[Sequence[int]], i: int, k1: int) -> set[int]:
    """R*(i), eq. 4: join each member's half set if more than 2/3 of it is in i's set as it was before expansion.

    The sets are of k1 + 1 and round_half_even(k1 / 2) + 1 images; the test is in integers, 3 |both| > 2 |half set|.
    """
    half = round(k1 / 2) + 1
    before = reciprocal_set(order, i, k1 + 1)
    after = set(before)
    for j in before:
        theirs = reciprocal_set(order, j, half)
        if 3 * len(theirs & before) > 2 * len(theirs):
            after |= theirs
    return after


def k_reciprocal(
    dist: np.ndarray,
    n_query: int,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: float = 2,
) -> np.ndarray:
    """Re-ranked distance of each query to each gallery image: eqs. 2, 4, 7, 10, 11 and 12.

    Args:
        dist: (N, N), queries first; finite and not negative.
        k1, k2: at or over N, the first min(k, N) of a row are all of it. k2 <= 1 leaves V as it is.

    Returns:
        (Q, G) float64. An image with an empty reciprocal set (see `reciprocal_set`) has a V row of zeros, hence J = 1
        before query expansion, as in the port.
    """
    dist = np.asarray(dist, dtype=np.float64)
    n = len(dist)
    if dist.shape != (n, n) or not 0 <= n_query <= n:
        raise ValueError(f"dist {dist.shape} and {n_query} queries: wants (N, N) and 0 <= n_query <= N")
    if not all(0 <= value < math.inf for value in dist.ravel().tolist()):
        raise ValueError("a distance is negative, infinite or NaN")

    scaled = scaled_distance(dist, power)
    order = [rank_list(scaled[i]) for i in range(n)]

    weights = np.zeros((n, n))
    for i in range(n):
        members = sorted(expanded_set(order, i, k1))
        total = math.fsum(math.exp(-scaled[i, j]) for j in members)
        for j in members:
            weights[i, j] = math.exp(-scaled[i, j]) / total

    if k2 > 1:
        expanded = np.zeros((n, n))
        for i in range(n):
            nearest = order[i][:k2]
            for c in range(n):
                expanded[i, c] = math.fsum(weights[j, c] for j in nearest) / len(nearest)
        weights = expanded

    result = np.zeros((n_query, n - n_query))
    for i in range(n_query):
        for j in range(n_query, n):
            overlap = math.fsum(min(weights[i, c], weights[j, c]) for c in range(n))
            jaccard = 1 - overlap / (2 - overlap)
            result[i, j - n_query] = (1 - lam) * jaccard + lam * scaled[i, j]
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Scores
# ---------------------------------------------------------------------------------------------------------------------


def average_precision(hits: Sequence[int], relevant: int, rule: str, k: int | None = None) -> float:
    """Sum of the precisions at the hits of a list, over the divisor that the rule names.

    Args:
        hits: 1 where the list has a right image, best first, junk already removed.
        relevant: right images in the whole gallery, junk not counted.
        rule: the divisor: `hits` (in the list), `relevant`, `relevant_at_k` (min(relevant, k)), `market` (relevant,
            over the whole list).
        k: the list is cut to its first k; None takes all of it, and then k of `relevant_at_k` is its length.

    Returns:
        0 for a list without a hit. NaN where there is nothing relevant, except 0 under `hits`.

    Raises:
        ValueError: unknown rule; more hits than relevant images; `market` on a list that lacks a relevant image.
    """
    cut = [bool(hit) for hit in hits][: len(hits) if k is None else k]
    found = sum(cut)
    if found > relevant:
        raise ValueError(f"{found} hits, but {relevant} relevant images")
    if rule == "hits":
        divisor = found
        if found == 0:
            return 0.0
    elif rule == "relevant":
        divisor = relevant
    elif rule == "relevant_at_k":
        divisor = min(relevant, len(hits) if k is None else k)
    elif rule == "market":
        if found != relevant:
            raise ValueError(f"market needs the whole list: it holds {found} of {relevant} relevant images")
        divisor = relevant
    else:
        raise ValueError(f"unknown rule {rule!r}; there are hits, relevant, relevant_at_k, market")
    if relevant == 0:
        return math.nan
    if found == 0:
        return 0.0
    precisions = []
    seen = 0
    for rank, hit in enumerate(cut, start=1):
        if hit:
            seen += 1
            precisions.append(seen / rank)
    return math.fsum(precisions) / divisor


def evaluate(
    ranking: np.ndarray | Sequence[Sequence[int]],
    query_pids: Sequence[int],
    gallery_pids: Sequence[int],
    query_camids: Sequence[int] | None = None,
    gallery_camids: Sequence[int] | None = None,
    *,
    ap: str,
    junk: str,
    top_k: int | None = None,
) -> dict[str, float | int | list[float]]:
    """Rank-1, mAP, CMC (Gray, Brennan & Tao 2007) and mINP (Ye et al. 2021, |G_i| / R_i^hard averaged) of ranked lists.

    Args:
        ranking: an array of floating type is a (Q, G) distance; anything else is Q lists of indices, best first.
        ap: a rule of `average_precision`.
        junk: `market` takes images of the query's pid and camera out of its list before the cut; `none` takes out none.
        top_k: the cut for CMC and AP; mINP is of the whole list given. `market` allows no cut below G.

    Returns:
        rank1, map, minp, cmc (entry r - 1 is the share of queries with a hit in the first r; its length is the longest
        list given, or top_k if that is less), scored and skipped queries. A query with nothing relevant left is
        skipped; under `hits` it is scored, AP, CMC and INP all 0. mINP is NaN if a list given lacks a relevant image;
        everything is NaN if no query was scored.
    """
    n_query, n_gallery = len(query_pids), len(gallery_pids)
    if junk not in ("none", "market"):
        raise ValueError(f"unknown junk rule {junk!r}; there are none, market")
    if junk == "market" and (query_camids is None or gallery_camids is None):
        raise ValueError("junk 'market' needs cameras")
    if ap == "market" and top_k is not None and top_k < n_gallery:
        raise ValueError("market is over the whole list: no top_k below the gallery's size")
    if len(ranking) != n_query:
        raise ValueError(f"{len(ranking)} lists for {n_query} queries")
    if isinstance(ranking, np.ndarray) and ranking.dtype.kind == "f":
        if ranking.shape != (n_query, n_gallery):
            raise ValueError(f"dist {ranking.shape}, but {n_query} queries and {n_gallery} gallery images")
        lists = [rank_list(row) for row in ranking]
    else:
        lists = [[int(j) for j in row] for row in ranking]
    for row in lists:
        if len(set(row)) != len(row) or not set(row) <= set(range(n_gallery)):
            raise ValueError("a list repeats an image or names one that is not in the gallery")

    width = max((len(row) for row in lists), default=0)
    width = width if top_k is None else min(width, top_k)
    precisions, inverse_penalties, first_hits = [], [], []
    skipped = 0
    for q in range(n_query):
        right, removed = set(), set()
        for g in range(n_gallery):
            same_pid = query_pids[q] == gallery_pids[g]
            if same_pid and junk == "market" and query_camids[q] == gallery_camids[g]:
                removed.add(g)
            elif same_pid:
                right.add(g)
        if not right and ap != "hits":
            skipped += 1
            continue
        hits = [int(g in right) for g in lists[q] if g not in removed]
        precisions.append(average_precision(hits, len(right), ap, top_k))
        first_hits.append(hits.index(1) + 1 if 1 in hits else math.inf)
        hit_ranks = [rank for rank, hit in enumerate(hits, start=1) if hit]
        if not right:
            inverse_penalties.append(0.0)
        elif len(hit_ranks) < len(right):
            inverse_penalties.append(math.nan)
        else:
            inverse_penalties.append(len(right) / max(hit_ranks))

    scored = len(precisions)
    cmc = [sum(first <= rank for first in first_hits) / scored if scored else math.nan for rank in range(1, width + 1)]
    return {
        "rank1": cmc[0] if cmc else math.nan,
        "map": math.fsum(precisions) / scored if scored else math.nan,
        "cmc": cmc,
        "minp": sum(inverse_penalties) / scored if scored else math.nan,
        "scored": scored,
        "skipped": skipped,
    }
