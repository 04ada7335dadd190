"""Slow, independent answers: every definition written out from its paper with loops and sets, in float64.

Nothing here is shared with the code it checks, and nothing here is fast. Shapes: Q queries, G gallery, N = Q + G,
D feature size, B batch, C classes. Where a definition leaves something open, the docstring says what was chosen.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence

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
    sides: tuple[Sequence[int], Sequence[int]] | None = None,
) -> np.ndarray:
    """Re-ranked distance of each query to each gallery image: eqs. 2, 4, 7, 10, 11 and 12.

    Args:
        dist: (N, N), queries first; finite and not negative.
        sides: the images that are queries and those of the gallery, where an image may be both; else the first n_query
            and the others.
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

    asked, there = sides or (range(n_query), range(n_query, n))
    result = np.zeros((len(asked), len(there)))
    for row, i in enumerate(asked):
        for column, j in enumerate(there):
            overlap = math.fsum(min(weights[i, c], weights[j, c]) for c in range(n))
            jaccard = 1 - overlap / (2 - overlap)
            result[row, column] = (1 - lam) * jaccard + lam * scaled[i, j]
    return result


def group_lists(dist: np.ndarray, groups: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
    """The whole intra and inter list of each row: images of its own group, itself among them, and the others.

    Nearest first, ties by lower index. A group below 0 is unknown: no two images share it.
    """
    intra: list[list[int]] = []
    inter: list[list[int]] = []
    for i, own in enumerate(groups):
        order = rank_list(dist[i])
        intra.append([j for j in order if j == i or (own >= 0 and groups[j] == own)])
        inter.append([j for j in order if j not in intra[i]])
    return intra, inter


def ca_jaccard(
    dist: np.ndarray,
    groups: Sequence[int],
    n_query: int,
    k1_intra: int = 5,
    k1_inter: int = 20,
    k2_intra: int = 3,
    k2_inter: int = 3,
    lam: float = 0.3,
    power: float = 2,
) -> np.ndarray:
    """CA-Jaccard (Chen, Fan, Chen & Zhu, CVPR 2024): CKRNNs, CLQE and the Jaccard distance: (Q, G) float64.

    The paper leaves open what a list has where a group has too few images: it is short here, and CLQE is the mean over
    the images that both lists have. First k + 1 of a list, as in Zhong et al.'s port; the inter list has no image
    itself.
    """
    n = len(dist)
    scaled = scaled_distance(np.asarray(dist, dtype=np.float64), power)
    intra, inter = group_lists(scaled, groups)
    weights = np.zeros((n, n))
    for i in range(n):
        members = reciprocal_set(intra, i, k1_intra + 1) | reciprocal_set(inter, i, k1_inter + 1)
        total = math.fsum(math.exp(-scaled[i, j]) for j in members)
        for j in members:
            weights[i, j] = math.exp(-scaled[i, j]) / total
    means = np.zeros((n, n))
    for i in range(n):
        near = intra[i][:k2_intra] + inter[i][:k2_inter]
        for c in range(n):
            means[i, c] = math.fsum(weights[j, c] for j in near) / len(near)
    out = np.zeros((n_query, n - n_query))
    for q in range(n_query):
        for g in range(n_query, n):
            shared = math.fsum(min(means[q, c], means[g, c]) for c in range(n))
            out[q, g - n_query] = (1 - lam) * (1 - shared / (2 - shared)) + lam * scaled[q, g]
    return out


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
    left_out: Sequence[set[int]] | None = None,
) -> dict[str, float | int | list[float]]:
    """Rank-1, mAP, CMC (Gray, Brennan & Tao 2007) and mINP (Ye et al. 2021, |G_i| / R_i^hard averaged) of ranked lists.

    Args:
        ranking: an array of floating type is a (Q, G) distance; anything else is Q lists of indices, best first.
        ap: a rule of `average_precision`.
        junk: `market` takes images of the query's pid and camera out of its list before the cut; `none` takes out none.
        left_out: gallery images of each query that are taken out of its list too, whoever they show.
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
        right, removed = set(), set(left_out[q]) if left_out else set()
        for g in range(n_gallery):
            if g in removed:
                continue
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


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


def label_smoothing_loss(logits: np.ndarray, labels: Sequence[int], eps: float, convention: str = "recipe") -> float:
    """Cross entropy with smoothed targets (Szegedy et al., CVPR 2016, section 7), the mean over the batch.

    Args:
        logits: (B, C).
        convention: `recipe` puts 1 - eps on the true class and eps / (C - 1) on every other; `torch` puts eps / C on
            all classes and 1 - eps more on the true one. recipe(eps) = torch(eps C / (C - 1)).
    """
    losses = []
    for row, label in zip(np.asarray(logits, dtype=np.float64).tolist(), labels, strict=True):
        n_classes = len(row)
        if not 0 <= label < n_classes:
            raise ValueError(f"label {label}, but {n_classes} classes")
        if convention == "recipe":
            if n_classes < 2:
                raise ValueError("eps / (C - 1) wants two classes or more")
            target = [eps / (n_classes - 1)] * n_classes
            target[label] = 1 - eps
        elif convention == "torch":
            target = [eps / n_classes] * n_classes
            target[label] += 1 - eps
        else:
            raise ValueError(f"unknown convention {convention!r}; there are recipe, torch")
        top = max(row)
        log_total = top + math.log(math.fsum(math.exp(x - top) for x in row))
        losses.append(-math.fsum(t * (x - log_total) for t, x in zip(target, row, strict=True)))
    return math.fsum(losses) / len(losses)


def batch_hard_pairs(feats: np.ndarray, pids: Sequence[int], distance: str = "cosine") -> list[tuple[float, float]]:
    """For each image, the farthest of its own identity and the nearest of another (Hermans et al. 2017, eq. 5).

    The distance is the cosine distance, or "euclidean". The image itself is of its own identity, so one alone in the
    batch has 0.

    Raises:
        ValueError: the batch holds one identity, so there is no negative.
    """
    rows = np.asarray(feats, dtype=np.float64).tolist()
    if len(rows) != len(pids):
        raise ValueError(f"{len(rows)} images, {len(pids)} pids")
    if len({int(pid) for pid in pids}) < 2:
        raise ValueError("a batch of one identity has no negatives")
    measure = {"cosine": cosine_distance, "euclidean": math.dist}[distance]
    pairs = []
    for i in range(len(rows)):
        own, other = [], []
        for j in range(len(rows)):
            (own if pids[i] == pids[j] else other).append(measure(rows[i], rows[j]))
        pairs.append((max(own), min(other)))
    return pairs


def batch_hard_triplet(feats: np.ndarray, pids: Sequence[int], margin: float | str, distance: str = "cosine") -> float:
    """Batch-hard triplet loss (Hermans et al. 2017, eq. 5), the mean over all images of the batch.

    Args:
        feats: (B, D), of any length.
        margin: a number gives max(0, margin + positive - negative); "soft" gives log(1 + exp(positive - negative)).
    """
    losses = []
    for positive, negative in batch_hard_pairs(feats, pids, distance):
        if margin == "soft":
            losses.append(math.log1p(math.exp(positive - negative)))
        else:
            losses.append(max(0.0, float(margin) + positive - negative))
    return math.fsum(losses) / len(losses)


def center_loss(feats: np.ndarray, pids: Sequence[int], centers: np.ndarray, reduction: str = "mean") -> float:
    """Half the squared distance of each image to its identity's centre (Wen et al., ECCV 2016, eq. 2).

    Args:
        feats: (B, D). pids: rows of `centers` (C, D).
        reduction: `mean` over the batch, as the other losses are; `sum` is the paper's.
    """
    halves = []
    for row, pid in zip(np.asarray(feats, dtype=np.float64), pids, strict=True):
        center = np.asarray(centers[pid], dtype=np.float64)
        halves.append(0.5 * math.fsum((x - c) ** 2 for x, c in zip(row.tolist(), center.tolist(), strict=True)))
    total = math.fsum(halves)
    if reduction == "sum":
        return total
    if reduction == "mean":
        return total / len(halves)
    raise ValueError(f"unknown reduction {reduction!r}; there are mean, sum")


def center_step(
    feats: np.ndarray,
    pids: Sequence[int],
    centers: np.ndarray,
    lr: float,
    reduction: str = "mean",
) -> np.ndarray:
    """The centres after one plain gradient step on `center_loss` itself, whatever weight that loss has in the total.

    The gradient for a centre is the sum (or sum / B) of centre - image over its images. Wen et al., eq. 4, divide
    instead by 1 + the number of its images; that is not done here.

    Returns:
        (C, D) float64; a centre with no image in the batch stays.
    """
    before = np.asarray(centers, dtype=np.float64)
    rows = np.asarray(feats, dtype=np.float64)
    after = before.copy()
    for row, pid in zip(rows, pids, strict=True):
        for d in range(len(row)):
            gradient = before[pid, d] - row[d]
            after[pid, d] -= lr * (gradient / len(rows) if reduction == "mean" else gradient)
    return after


def class_size_margins(counts: Sequence[int], most: float, least: float, power: float) -> list[float]:
    """a n^-power + b (Ha et al. 2020, arXiv 2010.05350): a and b from the two equations at both ends."""
    n_small, n_large = min(counts), max(counts)
    if n_small == n_large:
        return [most] * len(counts)
    a = (most - least) / (n_small**-power - n_large**-power)
    b = most - a * n_small**-power
    return [a * n**-power + b for n in counts]


def margin_softmax(
    cosines: np.ndarray, labels: Sequence[int], scale: float, margins: Sequence[float], kind: str
) -> float:
    """ArcFace (Deng et al., CVPR 2019, eq. 3) or CosFace (Wang et al., CVPR 2018, eq. 4), the mean over the batch.

    Args:
        cosines: (B, C), or (B, C, K) with K centers a class, of which the nearest counts (Deng et al., ECCV 2020).
        margins: of each class. kind: "angle" is cos(theta + m), with cos(theta) - m sin(m) beyond pi; "cosine" is
            cos(theta) - m.
    """
    losses = []
    for row, label in zip(np.asarray(cosines, dtype=np.float64).tolist(), labels, strict=True):
        near = [max(c) if isinstance(c, list) else c for c in row]
        m = margins[label]
        theta = math.acos(min(1.0, max(-1.0, near[label])))
        if kind == "cosine":
            near[label] -= m
        elif theta + m > math.pi:
            near[label] = math.cos(theta) - m * math.sin(m)
        else:
            near[label] = math.cos(theta + m)
        top = max(scale * c for c in near)
        total = math.fsum(math.exp(scale * c - top) for c in near)
        losses.append(top + math.log(total) - scale * near[label])
    return math.fsum(losses) / len(losses)


def focal_loss(logits: np.ndarray, labels: Sequence[int], gamma: float) -> float:
    """-(1 - p)^gamma log p of the true class (Lin et al., ICCV 2017, eq. 4), p by softmax, the mean over the batch."""
    losses = []
    for row, label in zip(np.asarray(logits, dtype=np.float64).tolist(), labels, strict=True):
        top = max(row)
        weights = [math.exp(x - top) for x in row]
        total = math.fsum(weights)
        others = math.fsum(w for k, w in enumerate(weights) if k != label) / total
        losses.append(-(others**gamma) * (row[label] - top - math.log(total)))
    return math.fsum(losses) / len(losses)


def circle_loss(
    feats: np.ndarray, pids: Sequence[int], margin: float, gamma: float, weights_of: np.ndarray | None = None
) -> float:
    """Circle loss on pairs (Sun et al., CVPR 2020, eq. 6), the mean over anchors with a positive and a negative.

    Args:
        weights_of: features that the weights a (eq. 5) are of, where they are held constant; else of `feats` itself.
    """
    rows = np.asarray(feats, dtype=np.float64).tolist()
    held = rows if weights_of is None else np.asarray(weights_of, dtype=np.float64).tolist()
    losses = []
    for i in range(len(rows)):
        near, far = [], []
        for j in range(len(rows)):
            s, w = 1 - cosine_distance(rows[i], rows[j]), 1 - cosine_distance(held[i], held[j])
            if pids[i] != pids[j]:
                far.append(math.exp(gamma * max(0.0, w + margin) * (s - margin)))
            elif i != j:
                near.append(math.exp(-gamma * max(0.0, 1 + margin - w) * (s - (1 - margin))))
        if near and far:
            losses.append(math.log(1 + math.fsum(far) * math.fsum(near)))
    return math.fsum(losses) / len(losses) if losses else 0.0


def supervised_contrastive(feats: np.ndarray, pids: Sequence[int], temperature: float) -> float:
    """L_out (Khosla et al., NeurIPS 2020, eq. 2), the mean over anchors with a positive."""
    rows = np.asarray(feats, dtype=np.float64).tolist()
    losses = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        positives = [j for j in others if pids[j] == pids[i]]
        if not positives:
            continue
        z = {j: (1 - cosine_distance(rows[i], rows[j])) / temperature for j in others}
        total = math.fsum(math.exp(z[a]) for a in others)
        losses.append(-math.fsum(math.log(math.exp(z[p]) / total) for p in positives) / len(positives))
    return math.fsum(losses) / len(losses) if losses else 0.0


def total_loss(id_loss: float, triplet: float) -> float:
    """0.1 ID + 0.9 triplet."""
    return 0.1 * id_loss + 0.9 * triplet


# ---------------------------------------------------------------------------------------------------------------------
# Learning rate
# ---------------------------------------------------------------------------------------------------------------------


def learning_rate(epoch: float) -> float:
    """The baseline's steps, as printed in Luo et al. 2019, eq. 2; each bound belongs to the step that it ends.

    As printed, the warm-up ends at 3.5e-5 and the rate then jumps to 3.5e-4. Epochs count from 1; 0 would have rate 0.
    """
    if not 0 <= epoch <= 120:
        raise ValueError(f"epoch {epoch} is outside 0 to 120")
    if epoch <= 10:
        return 3.5e-5 * epoch / 10
    if epoch <= 40:
        return 3.5e-4
    if epoch <= 70:
        return 3.5e-5
    return 3.5e-6


def constant_warmup(epoch: int, base: float, factor: float, total_epoch: int) -> float:
    """base * factor while epoch < total_epoch, counted from 0, then base."""
    return base * factor if epoch < total_epoch else base


def gradual_warmup(
    epoch: float,
    base: float,
    multiplier: float,
    total_epoch: float,
    after: Callable[[float, float], float] | None = None,
) -> float:
    """Gradual warm-up (Goyal et al. 2017, section 2.2), in the form of the widespread GradualWarmupScheduler.

    To total_epoch, inclusive, a straight line from base to base * multiplier; a multiplier of exactly 1 means from 0 to
    base. After it, `after(epoch - total_epoch, base * multiplier)`, or base * multiplier for ever.

    Raises:
        ValueError: a multiplier below 1.
    """
    if multiplier < 1:
        raise ValueError(f"multiplier {multiplier}: at least 1")
    if epoch <= total_epoch:
        if multiplier == 1:
            return base * epoch / total_epoch
        return base * (1 + (multiplier - 1) * epoch / total_epoch)
    return base * multiplier if after is None else after(epoch - total_epoch, base * multiplier)


def cosine_rate(epoch: float, base: float, n_epochs: float, lowest: float = 0.0) -> float:
    """lowest + (base - lowest) (1 + cos(pi t / T)) / 2 (Loshchilov & Hutter 2017, eq. 5), one fall without restarts."""
    if not 0 <= epoch <= n_epochs:
        raise ValueError(f"epoch {epoch} is outside 0 to {n_epochs}")
    return lowest + (base - lowest) * (1 + math.cos(math.pi * epoch / n_epochs)) / 2


# ---------------------------------------------------------------------------------------------------------------------
# Data balance
# ---------------------------------------------------------------------------------------------------------------------


def check_pk_batch(
    pids_of_batch: Sequence[int],
    P: int,
    K: int,
    images_of_batch: Sequence[int] | None = None,
    n_images: dict[int, int] | None = None,
) -> None:
    """A batch is exactly P identities, each exactly K times (Hermans et al. 2017, section 2), in any order.

    With the images, and each pid's number of images in the training set: an identity with K or more repeats none.

    Raises:
        AssertionError: it is not, and says where.
    """
    counts = Counter(int(pid) for pid in pids_of_batch)
    if len(counts) != P:
        raise AssertionError(f"{len(counts)} identities, not {P}")
    wrong = {pid: count for pid, count in counts.items() if count != K}
    if wrong:
        raise AssertionError(f"identities that do not have {K} images: {wrong}")
    if images_of_batch is None or n_images is None:
        return
    for pid in counts:
        images = [image for image, own in zip(images_of_batch, pids_of_batch, strict=True) if own == pid]
        if n_images[pid] >= K and len(set(images)) != K:
            raise AssertionError(f"identity {pid} has {n_images[pid]} images, and yet repeats one: {images}")


def resampling_expectation(n_images: Sequence[int], p: float = 0.5) -> tuple[float, float]:
    """Mean and variance of the number of images after resampling.

    An identity with n images, 1 < n < 100, has 2 n with probability p, else n, each identity on its own: mean
    n (1 + p), variance p (1 - p) n^2. Any other keeps n for certain; leaving out single images is another step.
    """
    mean, variance = 0.0, 0.0
    for n in n_images:
        doubled = 1 < n < 100
        mean += n * (1 + p) if doubled else n
        variance += p * (1 - p) * n * n if doubled else 0.0
    return mean, variance


# ---------------------------------------------------------------------------------------------------------------------
# Pseudo labels
# ---------------------------------------------------------------------------------------------------------------------


def loop_search(dist: np.ndarray, threshold: float | None = 0.5) -> list[int]:
    """Each image's label is its nearest other image; of two that name each other the lower name stays.

    Args:
        dist: (N, N), read by row. threshold: the nearest must be strictly nearer; None asks nothing.

    Returns:
        N labels, numbered from 0 by the first image that has each; -1 for none.
    """
    n, names = len(dist), {}
    for i in range(n):
        j = next(j for j in rank_list(np.asarray(dist, dtype=np.float64)[i]) if j != i)
        if threshold is None or dist[i][j] < threshold:
            names[i] = j
    stays = {max(i, j): min(i, j) for i, j in names.items() if names.get(j) == i}
    numbers: dict[int, int] = {}
    return [numbers.setdefault(stays.get(names[i], names[i]), len(numbers)) if i in names else -1 for i in range(n)]


def first_neighbours(dist: np.ndarray, threshold: float = 0.5) -> list[int]:
    """Groups of unlabelled images: the connected parts of the first-neighbour graph (cf. FINCH, Sarfraz et al. 2019).

    Each image is linked with its nearest other image, ties by lower index, if strictly nearer than the threshold.

    Args:
        dist: (N, N), read by row; it need not be symmetric.

    Returns:
        N labels, groups numbered from 0 by their lowest image; -1 for an image that no link touches.
    """
    dist = np.asarray(dist, dtype=np.float64)
    n = len(dist)
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    linked: set[int] = set()
    for i in range(n):
        others = [j for j in rank_list(dist[i]) if j != i]
        if others and dist[i, others[0]] < threshold:
            linked |= {i, others[0]}
            parent[root(i)] = root(others[0])

    numbers: dict[int, int] = {}
    labels = []
    for i in range(n):
        labels.append(numbers.setdefault(root(i), len(numbers)) if i in linked else -1)
    return labels


# ---------------------------------------------------------------------------------------------------------------------
# Query expansion and database augmentation
# ---------------------------------------------------------------------------------------------------------------------


def _unit(row: Sequence[float]) -> list[float]:
    norm = math.sqrt(math.fsum(x * x for x in row))
    if norm == 0:
        raise ValueError("a sum of features is zero and has no direction")
    return [x / norm for x in row]


def _expand(row: list[float], others: list[list[float]], k: int, alpha: float) -> list[float]:
    """Row + sum over its k nearest others of max(0, cos)^alpha times the other, scaled to length 1; 0^0 is 1."""
    dists = [cosine_distance(row, other) for other in others]
    total = list(row)
    for j in rank_list(dists, k):
        weight = 1.0 if alpha == 0 else max(0.0, 1 - dists[j]) ** alpha
        total = [t + weight * x for t, x in zip(total, others[j], strict=True)]
    return _unit(total)


def average_query_expansion(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """AQE (Chum et al., ICCV 2007): the mean of a query and its k nearest gallery images, at length 1 again.

    Args:
        queries: (Q, D); gallery: (G, D); unit rows. k at or over G takes the whole gallery.

    Returns:
        (Q, D) float64, unit rows.
    """
    return alpha_query_expansion(queries, gallery, k, alpha=0)


def alpha_query_expansion(queries: np.ndarray, gallery: np.ndarray, k: int, alpha: float) -> np.ndarray:
    """alpha-QE (Radenovic, Tolias & Chum, TPAMI 2018): as AQE, each neighbour weighted by cos^alpha, the query by 1.

    A negative cosine counts as 0 where alpha > 0; alpha = 0 is AQE.
    """
    gallery_rows = np.asarray(gallery, dtype=np.float64).tolist()
    query_rows = np.asarray(queries, dtype=np.float64).tolist()
    return np.array([_expand(row, gallery_rows, k, alpha) for row in query_rows])


def database_augmentation(feats: np.ndarray, k: int, alpha: float = 0) -> np.ndarray:
    """DBA (Turcot & Lowe 2009; Arandjelovic & Zisserman, CVPR 2012): each image and its k nearest others, as alpha-QE.

    Neighbours are found and summed in the features as they came, never in ones already replaced.

    Args:
        feats: (N, D), unit rows.

    Returns:
        (N, D) float64, unit rows.
    """
    rows = np.asarray(feats, dtype=np.float64).tolist()
    return np.array([_expand(rows[i], rows[:i] + rows[i + 1 :], k, alpha) for i in range(len(rows))])


def whitened_cosines(feats: np.ndarray, shrinkage: float, groups: Sequence[int] | None = None) -> np.ndarray:
    """Cosines of whitened features (N, N): (x - m)^T C^-1 (y - m), scaled to 1 on the diagonal. No eigenvector is used.

    C is the covariance about the means of the groups, shrunk: (1 - a) C + a tr(C) / D I (Jegou & Chum 2012, Ledoit &
    Wolf 2004); the inverse comes by Gauss-Jordan elimination with pivots.
    """
    n, dim = feats.shape
    of = [0] * n if groups is None else list(groups)
    rows = []
    for i in range(n):
        own = [j for j in range(n) if of[j] == of[i]]
        rows.append([float(feats[i, d]) - math.fsum(float(feats[j, d]) for j in own) / len(own) for d in range(dim)])
    cov = [[math.fsum(row[a] * row[b] for row in rows) / n for b in range(dim)] for a in range(dim)]
    mean = math.fsum(cov[d][d] for d in range(dim)) / dim
    left = [[(1 - shrinkage) * cov[a][b] + shrinkage * mean * (a == b) for b in range(dim)] for a in range(dim)]
    right = [[float(a == b) for b in range(dim)] for a in range(dim)]
    for a in range(dim):
        pivot = max(range(a, dim), key=lambda r: abs(left[r][a]))
        left[a], left[pivot], right[a], right[pivot] = left[pivot], left[a], right[pivot], right[a]
        over = left[a][a]
        left[a], right[a] = [x / over for x in left[a]], [x / over for x in right[a]]
        for b in range(dim):
            if b != a:
                times = left[b][a]
                left[b] = [x - times * y for x, y in zip(left[b], left[a], strict=True)]
                right[b] = [x - times * y for x, y in zip(right[b], right[a], strict=True)]
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            out[i, j] = math.fsum(rows[i][a] * right[a][b] * rows[j][b] for a in range(dim) for b in range(dim))
    length = [math.sqrt(out[i, i]) for i in range(n)]
    return np.array([[out[i, j] / (length[i] * length[j]) for j in range(n)] for i in range(n)])
