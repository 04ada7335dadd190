"""Search and re-ranking on CUDA devices, for `ensemble.neighbours` and `ensemble.rerank`.

Features and lists stay on the device until the end. The host receives final lists and scores only.
With several devices, each searches a part of the rows. The first device collects all lists and re-ranks.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import topk
from ensemble.kernels.cuda import card, rerank, scores
from ensemble.kernels.cuda import search as card_search
from ensemble.kernels.cuda.features import LEAST_PART, CardFeatures, load, padded
from ensemble.kernels.cuda.scores import CardStream
from ensemble.kernels.cuda.search import Lists, Progress, Search
from ensemble.kernels.device import lies_on_card
from ensemble.kernels.left_out import LeftOut
from ensemble.neighbours.knn import OTHER_FEATURES, SPARE, Neighbours
from ensemble.neighbours.similarity import MemberFeatures, fingerprint
from ensemble.neighbours.similarity import print_of as member_print

Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True)
class CardNeighbours:
    """What a search keeps on its device for the re-ranking: its source, features and lists."""

    source: MemberFeatures
    feats: CardFeatures
    lists: Lists
    near: Lists
    device: int


def work_bytes(n: int, n_query: int, dims: list[int], k: int, top_k: int) -> int:
    """Peak temporary device bytes of a search and a re-ranking, features not counted, if memory is not short."""
    lists = 8 * (n * k + n_query * top_k)
    block = min(card_search.BLOCK_BYTES, 4 * n * min(n, card_search.BLOCK_ROWS))
    found = min(n, card_search.BLOCK_ROWS) * 8 * (topk.capacity(k) + (topk.capacity(top_k) if top_k else 0))
    sets = n * (12 * rerank.SET_ROOM + 16 * rerank.GAP_ROOM + 8 * 6 * rerank.SET_ROOM)  # for the usual k2
    overlaps = 8 * 2 * n * rerank.SET_ROOM + min(rerank.SCRATCH_BYTES, 8 * n_query * (n - n_query))
    return lists + max(2 * n * padded(dims) + block + found, sets + overlaps)


def least_bytes(n: int, n_query: int, dims: list[int], k: int, top_k: int) -> int:
    """Least device bytes of a search, features not counted: it then reads the features in small parts."""
    rows = min(n, LEAST_PART)
    return 8 * (n * k + n_query * top_k) + 2 * 6 * rows * padded(dims) + 4 * rows * rows


def product_rate(dims: int) -> float:
    """FLOP per second of the products of a search, measured on one block with D = dims."""
    xp, size = card.xp, 4096
    halves, out = xp.zeros((size, padded([dims])), np.uint16), xp.empty((size, size), np.float32)
    best = np.inf
    for _ in range(3):
        begun = time.perf_counter()
        card.half_product(halves, halves, out)
        out[:1, :1].sum().item()  # waits for the product
        best = min(best, time.perf_counter() - begun)
    return 2 * size * size * dims / best


def device_of(source: MemberFeatures) -> int:
    """The device that holds the features, else the current one."""
    lying = [a for a in source.members if lies_on_card(a)]
    return int(lying[0].__dlpack_device__()[1]) if lying else card.current()


def search(
    source: MemberFeatures,
    k: int,
    n_query: int | None,
    top_k: int | None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Neighbours:
    """Lists of all images and, with n_query and top_k, each query's nearest gallery images. A device copy is kept."""
    lying = any(lies_on_card(a) for a in source.members)
    numbers = [device_of(source)] if lying else list(range(card.devices()))
    cuts = np.linspace(0, source.n, len(numbers) + 1).astype(int)
    spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(cuts)]

    def one(number: int, rows: slice) -> Search:
        with card.on(number):
            feats = load(source.members, source.weights, source.penalties, memory)
            made = Search(feats, k, n_query or 0, top_k or 0, memory)
            made.run(rows, progress if rows.start == 0 else None)
            return made

    with ThreadPoolExecutor(len(numbers)) as pool:
        made = list(pool.map(one, numbers, spans)) if len(numbers) > 1 else [one(numbers[0], spans[0])]
    first = made[0]
    for number, other, rows in zip(numbers[1:], made[1:], spans[1:], strict=True):
        for to, theirs in ((first.own, other.own), (first.near, other.near)):
            for name in ("order", "dist", "farthest"):
                with card.on(number):
                    part = card.download(getattr(theirs, name)[rows])
                with card.on(numbers[0]):
                    getattr(to, name)[rows] = card.upload(part)
    with card.on(numbers[0]):
        own, near = first.own, first.near
        order, dist, farthest = (card.download(a) for a in (own.order, own.dist, own.farthest))
        near_order, near_dist = (card.download(a) if n_query else None for a in (near.order, near.dist))
        held, made_of = CardNeighbours(source, first.feats, own, near, numbers[0]), print_of(source, first.feats)
        return Neighbours(order, dist, farthest, source.total, near_order, near_dist, made_of, held)


def gallery(source: MemberFeatures, n_query: int, top_k: int) -> Ranked:
    """Each query's nearest gallery images only: order (Q, K) in 0..G-1, dist (Q, K)."""
    with card.on(device_of(source)):
        near = _gallery(load(source.members, source.weights, source.penalties), n_query, top_k)
        return card.download(near.order), card.download(near.dist)


def _gallery(feats: CardFeatures, n_query: int, top_k: int) -> Lists:
    found = Search(feats, 0, n_query, top_k)
    found.run(slice(0, n_query))
    return found.near


def first_k(
    neighbours: Neighbours,
    source: MemberFeatures,
    graph: MemberFeatures,
    n_query: int,
    setting: rerank.Setting,
    top_k: int,
    left_out: LeftOut | None = None,
) -> Ranked:
    """Re-ranked lists of length K: order (Q, K), dist (Q, K). What is left out is in the lists still."""
    with card.on(device_of(source)):
        feats, lists, near, v = _encoded(neighbours, source, graph, setting, left_out)
        k, n_gallery = min(top_k, feats.n - n_query), feats.n - n_query
        if near is None or len(near.order) != n_query or near.order.shape[1] < min(k + 1, n_gallery):
            near = _gallery(feats, n_query, min(k + SPARE, n_gallery))
        order, dist = rerank.first_k(v, lists, near, feats, n_query, setting, k)
        return card.download(order), card.download(dist)


def stream(
    neighbours: Neighbours,
    source: MemberFeatures,
    graph: MemberFeatures,
    n_query: int,
    setting: rerank.Setting,
    left_out: LeftOut | None = None,
) -> CardStream:
    """Full rows of re-ranked distances."""
    with card.on(device_of(source)):
        feats, lists, _, v = _encoded(neighbours, source, graph, setting, left_out)
        found = scores.reranked(v, lists, feats, n_query, setting)
        return found.without(left_out) if left_out else found


def _encoded(
    neighbours: Neighbours,
    source: MemberFeatures,
    graph: MemberFeatures,
    setting: rerank.Setting,
    left_out: LeftOut | None,
) -> tuple[CardFeatures, Lists, Lists | None, rerank.Encoded]:
    """Features, lists and V of all rows. An image that is query and gallery is encoded once."""
    feats, lists, near = _there(neighbours, graph)
    v = rerank.encode(lists, feats, setting)
    if left_out is None or not left_out.overlaps:
        return feats, lists, near, v
    place = card.upload(left_out.union(source.n).place)
    lists = Lists(lists.order, lists.dist, lists.farthest[place])
    return load(source.members, source.weights, source.penalties), lists, near, v.take(place)


def plain(source: MemberFeatures, n_query: int) -> CardStream:
    """Full rows of summed distances."""
    with card.on(device_of(source)):
        return scores.plain(load(source.members, source.weights, source.penalties), n_query)


def _there(neighbours: Neighbours, source: MemberFeatures) -> tuple[CardFeatures, Lists, Lists | None]:
    """Features and lists on the device: those kept by the search if the source is the same, else uploaded."""
    held: CardNeighbours | None = neighbours.held
    if held is not None and _same(held.source, source):
        return held.feats, held.lists, held.near if held.near.order.shape[1] else None
    feats = load(source.members, source.weights, source.penalties)
    _check_same(neighbours, source, feats)
    near: Any = neighbours.near_order, neighbours.near_dist
    lists = Lists(*(card.upload(np.asarray(a)) for a in (neighbours.order, neighbours.dist, neighbours.farthest)))
    if near[0] is None or near[1] is None:
        return feats, lists, None
    order, dist = (card.upload(np.asarray(a)) for a in near)
    return feats, lists, Lists(order, dist, lists.farthest[: len(order)])


def print_of(source: MemberFeatures, feats: CardFeatures) -> str:
    """As `MemberFeatures.fingerprint`, for features measured on the device."""
    prints = [member_print(rows, a.shape[1]) for rows, a in zip(feats.prints, source.members, strict=True)]
    return fingerprint(prints, source.weights, source.penalties)


def _check_same(neighbours: Neighbours, source: MemberFeatures, feats: CardFeatures) -> None:
    if neighbours.made_of and neighbours.made_of != print_of(source, feats):
        raise ValueError(OTHER_FEATURES)


def _same(one: MemberFeatures, other: MemberFeatures) -> bool:
    """Whether two sources have the same arrays, weights and penalties."""
    if one is other:
        return True
    arrays = len(one.members) == len(other.members) and all(
        a is b or (lies_on_card(a) and lies_on_card(b) and card.address(a) == card.address(b) and a.shape == b.shape)
        for a, b in zip(one.members, other.members, strict=True)
    )
    penalties = len(one.penalties) == len(other.penalties) and all(
        a == b and np.array_equal(x, y) for (x, a), (y, b) in zip(one.penalties, other.penalties, strict=True)
    )
    return arrays and penalties and one.weights == other.weights
