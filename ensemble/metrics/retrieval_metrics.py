"""Rank-1, mAP, CMC and mINP, from ranked lists or from distances without sorting.

The reported total is weight * rank-1 + weight * mAP. There are several formulas for average precision; a score names
the one it used. All divide the sum of k / rank_k over the query's hits by:

    hits           the hits inside the list; a query without hits scores 0
    relevant       all relevant gallery images; a query without any is skipped
    relevant_at_k  min(relevant, K); a query without any is skipped
    market         all relevant, on full lists with junk removed; a query without any is skipped

Junk are gallery images of the query's identity and camera. They are removed before ranks are counted.
Identities and cameras are whole numbers or text; `ids.py` says which are unknown.
An unknown identity is never relevant in the gallery, and is skipped as a query. An unknown camera equals no other.
Images that a query leaves out, `left_out`, are removed too: its own image, or those of its sequence.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels.left_out import LeftOut
from ensemble.metrics.ids import as_array, as_numbers

Ints = NDArray[np.int64]
Facts = tuple[NDArray[np.float64], Ints, Ints, Ints]
AP_RULES = ("hits", "relevant", "relevant_at_k", "market")
JUNK_RULES = ("same_pid_same_cam", "none")
CMC_RANKS = (1, 5, 10)
CELLS = 2**21  # entries of lists at a time
NO_CAMERA = -2


def from_lists(
    order: NDArray[np.int32], pids: Ints, cams: Ints, gallery_pids: Ints, gallery_cams: Ints, junk: bool, top_k: int
) -> Facts:
    """Counts for ranked lists order (B, K): each list's first top_k images after junk is removed.

    Ranks start at 1 and do not count junk. A list may end in -1, no image. All four are 0 if nothing was found, or the
    identity is below 0 (unknown).

    Returns:
        (B,) each: the sum of k / rank_k over the relevant images found, their number, the first rank, the last rank.
    """
    query, place = np.nonzero((gallery_pids[order] == pids[:, None]) & (pids >= 0)[:, None] & (order >= 0))
    dropped = gallery_cams[order[query, place]] == cams[query] if junk else np.zeros(query.size, bool)
    rank = place + 1 - (_running(query, dropped) - dropped)
    kept = ~dropped & (rank <= top_k)
    query, rank = query[kept], rank[kept]
    nth = _running(query, np.ones(query.size, bool))
    rows = len(order)
    total: NDArray[np.float64] = np.bincount(query, nth / rank, rows).astype(np.float64)
    found = np.bincount(query, minlength=rows).astype(np.int64)
    first, last = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    last[query] = rank  # the highest rank is written last and stays
    first[query[::-1]] = rank[::-1]
    return total, found, first, last


def _running(query: Ints, counted: NDArray[np.bool_]) -> Ints:
    """Running count per query, the entry itself included; queries are in ascending order."""
    before = np.concatenate([[0], np.cumsum(counted)])
    begin = np.searchsorted(query, query)
    out: Ints = before[1:] - before[begin]
    return out


def relevant(pid_ptr: Ints, by_pid: Ints, group: Ints, query_cams: Ints, gallery_cams: Ints, junk: bool) -> Ints:
    """(Q,) relevant gallery images per query: those of its group that are not junk. Group -1 has none.

    Args:
        pid_ptr, by_pid: gallery images of each group, pointers and indices.
        group: (Q,) group of each query.
        query_cams: (Q,).
        gallery_cams: (G,).
        junk: whether images of the query's identity and camera are junk.
    """
    size = np.diff(pid_ptr)
    right = np.where(group >= 0, size[group], 0)
    if not junk:
        return right
    cams, camera = np.unique(np.concatenate([gallery_cams, query_cams]), return_inverse=True)
    there, asked = camera[: gallery_cams.size], camera[gallery_cams.size :]
    pairs = np.sort(np.repeat(np.arange(size.size), size) * cams.size + there[by_pid])
    wanted = group * cams.size + asked  # group -1 gives a negative key, which matches nothing
    same = np.searchsorted(pairs, wanted, "right") - np.searchsorted(pairs, wanted, "left")
    out: Ints = right - same
    return out


@dataclass(frozen=True)
class Score:
    """The result of one evaluation.

    Attributes:
        rank1: CMC at rank 1.
        map: mean average precision.
        cmc: CMC at ranks 1, 5 and 10.
        minp: mean of relevant / rank of the last relevant image; 0 for a cut list that misses one.
        total: weighted sum of rank-1 and mAP.
        scored: queries that count.
        skipped: queries that do not count; scored + skipped = Q.
        ap: rule of average precision.
        signature: rules and settings as text.
        ap_per_query: (Q,) float64 average precision, NaN for skipped queries.
        hit_per_query: (Q,) float64 rank-1, 1 or 0, NaN for skipped queries.
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
    hit_per_query: NDArray[np.float64] = field(repr=False, compare=False)


@dataclass(frozen=True)
class _Labels:
    """Checked identities, cameras and rules."""

    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_camids: NDArray[np.int64]
    gallery_camids: NDArray[np.int64]
    junk: str
    ap: str
    top_k: int | None
    left_out: LeftOut | None = None

    @property
    def rules(self) -> str:
        """What is removed from lists: `itself+same_pid_same_cam`, or `none`."""
        out = self.left_out.rules if self.left_out else ()
        return "+".join(sorted((*out, *((self.junk,) if self.junk != "none" else ())))) or "none"


def _labels(
    query_pids: ArrayLike,
    gallery_pids: ArrayLike,
    query_camids: ArrayLike | None,
    gallery_camids: ArrayLike | None,
    ap: str,
    top_k: int | None,
    junk: str | None,
    left_out: LeftOut | None,
) -> _Labels:
    if ap not in AP_RULES:
        raise ValueError(f"unknown AP rule {ap!r}; the rules are: {', '.join(AP_RULES)}")
    if junk is not None and junk not in JUNK_RULES:
        raise ValueError(f"unknown junk rule {junk!r}; the rules are: {', '.join(JUNK_RULES)}")
    if top_k is not None and not (isinstance(top_k, int | np.integer) and top_k >= 1):
        raise ValueError(f"top_k is {top_k!r}: want a whole number of at least 1, or None for full lists")
    if ap == "market" and top_k is not None:
        raise ValueError("ap 'market' needs full lists: give no top_k, or use 'relevant' for cut lists")
    if (query_camids is None) != (gallery_camids is None):
        raise ValueError("cameras are given for one side only: give both query_camids and gallery_camids, or neither")
    if junk is None:
        junk = "same_pid_same_cam" if ap == "market" and query_camids is not None else "none"
    if junk != "none" and query_camids is None:
        raise ValueError(f"junk rule {junk!r} needs cameras: give query_camids and gallery_camids, or junk='none'")
    pids = as_numbers(query_pids, gallery_pids, "identities")
    cams: tuple[NDArray[np.int64], NDArray[np.int64]] = (np.zeros_like(pids[0]), np.zeros_like(pids[1]))
    if query_camids is not None and gallery_camids is not None:
        cams = as_numbers(query_camids, gallery_camids, "cameras")
    for side, p, c in zip(("query", "gallery"), pids, cams, strict=True):
        if p.size != c.size or not p.size:
            raise ValueError(f"{side}: {p.size} identities and {c.size} cameras; want one per image, and at least one")
    if left_out is not None and (left_out.n_query, left_out.n_gallery) != (pids[0].size, pids[1].size):
        raise ValueError(
            f"left_out is of {left_out.n_query} queries and {left_out.n_gallery} gallery images; there are "
            f"{pids[0].size} and {pids[1].size}"
        )
    there = np.where(cams[1] < 0, NO_CAMERA, cams[1])  # an unknown camera equals no other, not even an unknown one
    return _Labels(pids[0], pids[1], cams[0], there, junk, ap, top_k, left_out)


def _right_left_out(labels: _Labels) -> Ints:
    """(Q,) images of the query's identity that it leaves out, and that are no junk by their camera."""
    out, n = labels.left_out, labels.query_pids.size
    if out is None:
        return np.zeros(n, np.int64)
    query, image = np.repeat(np.arange(n), out.counts), out.index
    right = (labels.query_pids[query] == labels.gallery_pids[image]) & (labels.query_pids[query] >= 0)
    if labels.junk != "none":
        right &= labels.query_camids[query] != labels.gallery_camids[image]
    return np.bincount(query[right], minlength=n)


def _groups(labels: _Labels) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(Q,) group of each query, -1 for none; gallery images of each group as pointers and ascending indices."""
    pids, members = np.unique(labels.gallery_pids, return_inverse=True)
    at = np.minimum(np.searchsorted(pids, labels.query_pids), pids.size - 1)
    known = (pids[at] == labels.query_pids) & (labels.query_pids >= 0)
    pointers = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=pids.size))])
    return np.where(known, at, -1), pointers.astype(np.int64), np.argsort(members, kind="stable")


@dataclass(frozen=True)
class _Facts:
    """Sum of k / rank_k, hits found, first and last rank of each query (see `from_lists`), (Q,) each."""

    total: NDArray[np.float64]
    found: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _score(
    labels: _Labels, facts: _Facts, length: int, weights: tuple[float, float], extra: Mapping[str, object] | None
) -> Score:
    if len(weights) != 2 or not all(np.isfinite(w) and w >= 0 for w in weights):
        raise ValueError(f"weights are {weights}: want two finite numbers >= 0, for rank-1 and mAP")
    group, pointers, by_pid = _groups(labels)
    cams = labels.query_camids, labels.gallery_camids
    right = relevant(pointers, by_pid, group, *cams, labels.junk != "none") - _right_left_out(labels)
    kept = (right > 0) | ((labels.ap == "hits") & (labels.query_pids >= 0))  # an unknown identity has no relevant image
    scored, n = int(kept.sum()), kept.size
    if not scored:
        raise ValueError("no query can be scored: none has a relevant image in the gallery")
    divisors = {"hits": facts.found, "relevant_at_k": np.minimum(right, labels.top_k or length)}
    ap = np.where(kept, facts.total / np.maximum(1, divisors.get(labels.ap, right)), np.nan)
    hit = kept & (facts.found > 0)
    whole = hit & (facts.found == right)
    inp = np.where(whole, facts.found / np.maximum(1, facts.last), 0.0)
    cmc = tuple(float((hit & (facts.first <= rank)).sum() / scored) for rank in CMC_RANKS)
    mean_ap = float(ap[kept].mean())
    said = {
        "ap": labels.ap,
        "k": labels.top_k or length,
        "junk": labels.rules,
        "scored": scored,
        "skipped": n - scored,
        "weights": f"{weights[0]:g}*rank1+{weights[1]:g}*map",
        **(extra or {}),
    }
    signature = "|".join(f"{key}={value}" for key, value in said.items())
    total = weights[0] * cmc[0] + weights[1] * mean_ap
    first = np.where(kept, hit & (facts.first <= 1), np.nan)
    return Score(
        cmc[0], mean_ap, cmc, float(inp[kept].mean()), total, scored, n - scored, labels.ap, signature, ap, first
    )


def _facts(parts: list[Facts]) -> _Facts:
    return _Facts(*(np.concatenate(column) for column in zip(*parts, strict=True)))


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
    left_out: LeftOut | None = None,
    weights: tuple[float, float] = (0.5, 0.5),
    extra: Mapping[str, object] | None = None,
) -> Score:
    """Score ranked lists.

    Args:
        order: (Q, K) gallery indices, nearest first, no repeats. ap 'market' needs full lists, K = G. With `left_out`,
            lists may end in -1, and may hold what is left out: it is removed.
        query_pids, gallery_pids: (Q,) and (G,) identities.
        query_camids, gallery_camids: (Q,) and (G,) cameras; give both or neither.
        ap: rule of average precision: hits, relevant, relevant_at_k or market.
        top_k: score the first top_k of each list, counted after junk is removed. None: all.
        junk: same_pid_same_cam or none. None: same_pid_same_cam for ap 'market' with cameras, else none.
        left_out: images to remove, of `ensemble.neighbours.leave_out`.
        weights: of rank-1 and mAP in the total.
        extra: further entries of the signature, such as settings, members, versions.

    Raises:
        ValueError: unknown rule, shapes that do not match, invalid or repeated indices, no query to score.
    """
    labels = _labels(query_pids, gallery_pids, query_camids, gallery_camids, ap, top_k, junk, left_out)
    n_query, n_gallery = labels.query_pids.size, labels.gallery_pids.size
    lists = _indices(order, n_query, n_gallery, -1 if left_out else 0)
    shortest = n_gallery - (left_out.most if left_out else 0)
    if ap == "market" and lists.shape[1] < shortest:
        raise ValueError(f"ap 'market' needs full lists of {n_gallery}; these have {lists.shape[1]}: use 'relevant'")
    gallery = labels.gallery_pids, labels.gallery_camids, labels.junk != "none", top_k or lists.shape[1]

    step = max(1, CELLS // lists.shape[1])
    parts = [slice(start, min(n_query, start + step)) for start in range(0, n_query, step)]
    for part in parts:
        _check_distinct(lists[part], part.start)
    found = []
    for p in parts:
        some = lists[p] if left_out is None else left_out.closed(lists[p], p.start)
        if ap == "market" and left_out is not None and ((some >= 0).sum(axis=1) < n_gallery - left_out.counts[p]).any():
            raise ValueError("ap 'market' needs full lists; some have images missing: use 'relevant'")
        found.append(from_lists(some, labels.query_pids[p], labels.query_camids[p], *gallery))
    return _score(labels, _facts(found), lists.shape[1], weights, extra)


def _indices(order: ArrayLike, n_query: int, n_gallery: int, least: int) -> NDArray[np.int32]:
    """Gallery indices (Q, K) as int32, checked before the cast. least: 0, or -1 if lists may end in -1."""
    lists = as_array(order, "order", f"({n_query}, K), gallery indices, nearest first")
    if lists.ndim != 2 or len(lists) != n_query or not lists.size:
        raise ValueError(f"order has shape {lists.shape}: want ({n_query}, K)")
    if lists.dtype.kind not in "iu":
        raise ValueError(
            f"order holds {lists.dtype}: want gallery indices, whole numbers. For distances, use "
            "np.argsort(dist, axis=1), or evaluate_blocks with [(slice(0, len(dist)), dist)]"
        )
    if lists.min() < least or lists.max() >= n_gallery:
        raise ValueError(f"order holds {lists.min()}..{lists.max()}: want gallery indices 0..{n_gallery - 1}")
    return np.ascontiguousarray(lists, np.int32)


def _check_distinct(lists: NDArray[np.int32], start: int) -> None:
    ordered = np.sort(lists, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if again.any():
        row, place = np.argwhere(again)[0]
        raise ValueError(f"order of query {start + row} holds gallery index {ordered[row, place]} more than once")


def _pairs(blocks: object) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield the blocks of distances, checked."""
    for block in blocks if isinstance(blocks, Iterable) else [blocks]:
        if not isinstance(block, tuple | list) or len(block) != 2 or not isinstance(block[0], slice):
            raise ValueError(
                f"blocks hold {type(block).__name__}: want pairs (slice of queries, their distances to the gallery). "
                "Give a full matrix as [(slice(0, len(dist)), dist)]"
            )
        yield block[0], as_array(block[1], f"block {block[0]}", "(b, G) distances")


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
    left_out: LeftOut | None = None,
    weights: tuple[float, float] = (0.5, 0.5),
    extra: Mapping[str, object] | None = None,
    n_jobs: int = -1,
) -> Score:
    """Score streamed distances, pairs (slice of queries, (b, G)), by counting, without sorting.

    The score is that of `evaluate` for the rows sorted with ties by lower index. Other arguments as there.
    """
    from ensemble.kernels import rank_counts  # imported here: 0.25 s that `evaluate` does not need
    from ensemble.kernels.parallel import over_rows
    from ensemble.neighbours.without import without

    labels = _labels(query_pids, gallery_pids, query_camids, gallery_camids, ap, top_k, junk, left_out)
    n_query, n_gallery = labels.query_pids.size, labels.gallery_pids.size
    group, pointers, by_pid = _groups(labels)
    rest = pointers, by_pid, labels.gallery_camids, labels.junk != "none", top_k or n_gallery
    there = getattr(blocks, "facts", None)  # a stream on a CUDA device counts by itself
    if there is not None:
        if (blocks.n_query, blocks.n_gallery) != (n_query, n_gallery):  # type: ignore[attr-defined]
            shape = blocks.n_query, blocks.n_gallery  # type: ignore[attr-defined]
            raise ValueError(f"the stream holds {shape} distances: want ({n_query}, {n_gallery})")
        facts = _Facts(*without(blocks, left_out).facts(group, labels.query_camids, *rest))  # type: ignore[attr-defined]
        if np.isnan(facts.total).any():
            raise ValueError("the stream holds NaN distances")
        return _score(labels, facts, n_gallery, weights, extra)
    parts: list[rank_counts.Facts] = []
    seen = 0
    for rows, dist in _pairs(blocks):
        if rows.start != seen or dist.shape != (rows.stop - rows.start, n_gallery) or rows.stop > n_query:
            raise ValueError(f"block {rows} of shape {dist.shape}: want consecutive rows of {n_gallery} distances")
        cams = labels.query_camids[rows]
        groups = group[rows]
        matrix = np.ascontiguousarray(dist, np.float32)
        if left_out is not None:
            matrix = np.array(matrix)
            matrix[left_out.pairs(rows)] = np.inf

        def count(
            part: slice, matrix: NDArray = matrix, groups: NDArray = groups, cams: NDArray = cams
        ) -> rank_counts.Facts:
            return rank_counts.from_distances(matrix[part], groups[part], cams[part], *rest)

        found = over_rows(count, len(matrix), n_jobs)
        if any(np.isnan(total).any() for total, *_ in found):
            raise ValueError(f"block {rows} holds NaN distances")
        parts += found
        seen = rows.stop
    if seen != n_query:
        raise ValueError(f"blocks hold {seen} queries; {n_query} have identities")
    return _score(labels, _facts(parts), n_gallery, weights, extra)
