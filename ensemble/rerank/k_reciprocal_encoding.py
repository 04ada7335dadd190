"""k-reciprocal re-ranking (Zhong, Zheng, Cao & Li, CVPR 2017), exactly and sparsely.

As in the authors' published Python port:

- s(i, j) = d(i, j)^power, divided by the row's largest value over all N columns. The port has power 2; power 1 is also
  common;
- the neighbours of a row are its first k1 + 1 images, the image itself included, ties by lower index. A k1 or k2 above
  N means N;
- a half set uses the first round_half_even(k1 / 2) + 1 images. It is added if more than 2/3 of it are in the original
  set;
- V = exp(-s) on the set, rows scaled to sum 1, then averaged over the first k2 images of the row, queries included;
- J = 1 - t / (2 - t) with t = sum min(V_q, V_g). The result is (1 - lam) J + lam s.

Other code differs: ports on faiss use k1 columns, softmax weights and no row maximum; the reid-strong-baseline family
sums in float16.

J is exactly 1 where V_q and V_g share no image. So a list of length K is found among the query's overlapping gallery
images and its K nearest by s. No Q x G array is needed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import ranked_lists, reciprocal_sets
from ensemble.kernels.device import choose
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.block_search import runs
from ensemble.neighbours.distance_blocks import Block, Near, Plain, Ranked, Stream, product_error, ranked
from ensemble.neighbours.distances import DistanceMatrices, Feats
from ensemble.neighbours.knn import NEAR_SHARE, SPARE, Neighbours, nearest_gallery
from ensemble.neighbours.similarity import MemberFeatures, Penalties, SimilaritySource, as_source, read_on_card
from ensemble.neighbours.union_search import source_of
from ensemble.neighbours.without import Without
from ensemble.rerank.jaccard_options import Mixing, check_neighbours, check_options
from ensemble.rerank.sparse import Overlap, Sparse, joined

Overlaps = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True)
class KReciprocal:
    """k-reciprocal re-ranking with checked options: an entry of `registry.py`.

    Attributes:
        k1: neighbours that are tested for reciprocity.
        k2: neighbours that the encoding is averaged over.
        lam: weight of the original distance, 0 to 1.
        power: exponent of the original distance, 1 or 2; the published port has 2.
    """

    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    power: int = 2
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "k1": (5, 7, 10, 14, 20, 28, 40),
        "k2": (1, 2, 3, 4, 6, 8, 10),
        "power": (1, 2),
        "lam": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    }
    known: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"k1": 6, "k2": 2, "lam": 0.3},
        {"k1": 7, "k2": 2, "lam": 0.6},
        {"k1": 10, "k2": 3, "lam": 0.6},
        {"k1": 10, "k2": 3, "lam": 0.7},
        {"k1": 14, "k2": 4, "lam": 0.4},
        {"k1": 20, "k2": 3, "lam": 0.8},
        {"k1": 50, "k2": 15, "lam": 0.5},
    )

    def __post_init__(self) -> None:
        check_options(self, ("k1", "k2"))
        if self.k1 < 1 or self.k2 < 1:
            raise ValueError(f"k1 is {self.k1} and k2 is {self.k2}: want at least 1 each")

    @property
    def encoding(self) -> tuple[Any, ...]:
        """The options that V depends on."""
        return self.k1, self.k2, self.power

    def encode(self, neighbours: Neighbours, source: SimilaritySource, n_jobs: int) -> Sparse:
        """`encode` with these options."""
        return encode(neighbours, source, self, n_jobs)

    def neighbours_read(self, n: int) -> int:
        """Neighbours needed per image, for n images."""
        return min(n, max(self.k1 + 1, self.k2))

    def lists(
        self, neighbours: Neighbours, feats: Sequence[NDArray | DistanceMatrices], n_query: int, **given: Any
    ) -> Ranked:
        """`k_reciprocal` with these options."""
        return k_reciprocal(neighbours, feats, n_query, **given, **asdict(self))

    def stream(self, neighbours: Neighbours, feats: Sequence[Feats], n_query: int, **given: Any) -> Iterator[Block]:
        """`blocks` with these options."""
        return blocks(neighbours, feats, n_query, **given, **asdict(self))

    def check(
        self,
        neighbours: Neighbours,
        source: SimilaritySource,
        n_query: int,
        top_k: int | None,
        graph: SimilaritySource | None = None,
    ) -> None:
        """Raise ValueError unless the neighbours belong to this source and are enough for these options.

        graph: the images of the neighbours, if a query is a gallery image.
        """
        check_neighbours(neighbours, source, n_query, top_k, graph)
        need, have = self.neighbours_read((graph or source).n), neighbours.order.shape[1]
        if have < need:
            raise ValueError(
                f"{have} neighbours per image; k1 {self.k1} and k2 {self.k2} need {need}: search with k={need}"
            )


def encode(neighbours: Neighbours, source: SimilaritySource, setting: KReciprocal, n_jobs: int) -> Sparse:
    """V: the weighted, expanded reciprocal sets after local query expansion (eqs. 4, 7 and 11 of the paper)."""
    order, n = neighbours.order, source.n
    full, half = (_reciprocal(order, min(n, c), n_jobs) for c in (setting.k1 + 1, round(setting.k1 / 2) + 1))
    k2 = min(n, setting.k2)

    def weigh(rows: slice) -> tuple[NDArray, NDArray, NDArray]:
        indptr, members = reciprocal_sets.expanded(*full, *half, rows.start, rows.stop)
        dist = reciprocal_sets.known(indptr, members, order, neighbours.dist, rows.start, rows.stop)
        gaps = np.flatnonzero(np.isnan(dist))
        ids = np.arange(rows.start, rows.stop)
        dist[gaps] = source.pairs(ids, np.searchsorted(gaps, indptr), members[gaps])
        weights = reciprocal_sets.weighed(
            indptr, dist, neighbours.farthest[rows], setting.power, reciprocal_sets.UNIT / k2
        )
        return indptr, members, weights

    v = joined(over_rows(weigh, n, n_jobs))
    if k2 == 1:
        return v
    parts = over_rows(
        lambda r: reciprocal_sets.average(v.indptr, v.members, v.weights, order, k2, r.start, r.stop), n, n_jobs
    )
    return joined(parts)


def _reciprocal(order: NDArray[np.int32], c: int, n_jobs: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    parts = over_rows(lambda rows: reciprocal_sets.reciprocal(order, c, rows.start, rows.stop), len(order), n_jobs)
    members, size = zip(*parts, strict=True)
    return np.concatenate(members), np.concatenate(size)


@dataclass(frozen=True)
class Reranked:
    """Rows of (1 - lam) J + lam s; a `distance_blocks.Rows`."""

    plain: Plain
    overlap: Overlap
    farthest: NDArray[np.float32]
    setting: Mixing
    n_jobs: int

    @property
    def n_query(self) -> int:
        return self.plain.n_query

    @property
    def n_gallery(self) -> int:
        return self.plain.n_gallery

    def exact(self, rows: slice) -> NDArray[np.float32]:
        """See `distance_blocks.Rows`."""
        dist = self.plain.exact(rows)
        self._mix(dist, rows)
        return dist

    def near(self, rows: slice) -> Near:
        """See `distance_blocks.Rows`. To first order, an error e of d gives an error power * e / largest d of s."""
        plain = self.plain.near(rows)
        held = self._mix(plain.dist, rows)
        farthest = self.farthest[rows]
        lam = np.float32(self.setting.lam)
        power = self.setting.power
        # s is at most 1, so its error is too. In a row of zeros s is 0, without error
        reach = np.minimum(np.divide(plain.bound, farthest, out=np.zeros_like(farthest), where=farthest > 0), 1)
        bound = lam * (power * reach + reach**2) + np.float32(8 * 2.0**-24)

        def pairs(indptr: NDArray[np.int64], index: NDArray[np.int32]) -> NDArray[np.float32]:
            dist = plain.pairs(indptr, index)

            def mix(span: slice) -> None:
                for part, found in held[span]:
                    own = indptr[part.start : part.stop + 1]
                    some = slice(own[0], own[-1])
                    ranked_lists.mix_pairs(dist[some], own - own[0], index[some], farthest[part], *found, power, lam)

            over_rows(mix, len(held), self.n_jobs, most=1)
            return dist

        return Near(plain.dist, np.asarray(bound, np.float32), pairs)

    def _mix(self, dist: NDArray[np.float32], rows: slice) -> list[tuple[slice, Overlaps]]:
        """Replace distances (b, G) by the re-ranked ones in place; return the overlaps of each part of the rows."""

        def mix(part: slice) -> tuple[slice, Overlaps]:
            ids = slice(rows.start + part.start, rows.start + part.stop)
            found = self.overlap.of(ids)
            ranked_lists.mix_rows(
                dist[part], self.farthest[ids], *found, self.setting.power, np.float32(self.setting.lam)
            )
            return part, found

        return over_rows(mix, len(dist), self.n_jobs)


def blocks(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    left_out: LeftOut | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream the distances (1 - lam) J + lam s as pairs (slice of query rows, (b, G) float32), to score full lists.

    Arguments and errors as in `k_reciprocal`; `block`: most rows at a time on a CPU. Images that are left out are at
    infinity.
    Blocks made on a CUDA device stay there for `ensemble.metrics.evaluate_blocks` and `ensemble.neighbours.ranked`.
    Iteration copies them to the host.
    """
    chosen = choose(device, feats)
    source = as_source(feats, weights, penalties, n_jobs, chosen)
    setting = KReciprocal(k1, k2, lam, power)
    graph = source_of(source, left_out, n_jobs)
    setting.check(neighbours, source, n_query, None, graph)
    if read_on_card(source, chosen) and isinstance(graph, MemberFeatures):
        from ensemble.neighbours import on_card

        found: Iterator[Block] = on_card.stream(neighbours, source, graph, n_query, setting, left_out)
        return found
    v = encode(neighbours, graph, setting, n_jobs)
    return reranked_stream(reranked_rows(neighbours, source, n_query, v, setting, n_jobs, left_out), left_out, block)


def reranked_rows(
    neighbours: Neighbours,
    source: SimilaritySource,
    n_query: int,
    v: Sparse,
    setting: Mixing,
    n_jobs: int,
    left_out: LeftOut | None = None,
) -> Reranked:
    """Rows of (1 - lam) J + lam s, with J from the overlaps of V."""
    plain = Plain(source, n_query, product_error(source, n_jobs), n_jobs)
    farthest = neighbours.farthest
    if left_out is not None and left_out.overlaps:  # neighbours and V are of images, a query and its copy are rows
        place = left_out.union(source.n).place
        v, farthest = v.take(place), farthest[place]
    return Reranked(plain, Overlap(v, n_query), farthest, setting, n_jobs)


def reranked_stream(rows: Reranked, left_out: LeftOut | None = None, block: int = 256) -> Stream:
    """These rows in blocks, with infinity where an image is left out."""
    return Stream(rows if left_out is None else Without(rows, left_out), block, rows.n_jobs)


def reranked_lists(
    neighbours: Neighbours,
    source: SimilaritySource,
    rows: Reranked,
    top_k: int | None,
    left_out: LeftOut | None = None,
) -> Ranked:
    """The gallery in the order of these rows: order, dist. top_k: list length; None: all."""
    wide = reach(top_k, rows.n_gallery, left_out)
    if wide is None:
        return ranked(Stream(rows, 256, rows.n_jobs), top_k, rows.n_jobs, left_out)
    order, dist = _first_k(neighbours, source, rows, wide)
    return left_out.drop(order, dist, top_k) if left_out else (order, dist)


def reach(top_k: int | None, n_gallery: int, left_out: LeftOut | None) -> int | None:
    """Length of the lists that are searched for lists of top_k; None if full rows are sorted."""
    wide = n_gallery if top_k is None else top_k + (left_out.most if left_out else 0)
    return None if top_k is None or wide > NEAR_SHARE * n_gallery else wide


def k_reciprocal(
    neighbours: Neighbours,
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    k1: int = 20,
    k2: int = 6,
    lam: float = 0.3,
    power: int = 2,
    top_k: int | None = None,
    left_out: LeftOut | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> Ranked:
    """Rank the gallery for each query by (1 - lam) J + lam s, nearest first, ties by lower index.

    Args:
        neighbours: at least max(k1 + 1, k2) per image, from the same features, weights and penalties. Neighbours from
            `nearest(..., n_query, top_k)` save one pass over the gallery.
        feats, weights, penalties, device, n_jobs: as in `ensemble.neighbours.nearest`.
        n_query: the first n_query images are the queries.
        k1, k2, lam, power: see `KReciprocal`.
        top_k: list length K. None ranks the whole gallery. At most G.
        left_out: the images to leave out, as given to `nearest`. Lists that have fewer images than the longest one end
            in -1. An image that is query and gallery is one node of the graph.

    Returns:
        order (Q, K) int32 in 0..G-1, dist (Q, K) float32.

    Raises:
        ValueError: options out of range, bad features, too few neighbours, or neighbours of other features.
    """
    chosen = choose(device, feats)
    source = as_source(feats, weights, penalties, n_jobs, chosen)
    setting = KReciprocal(k1, k2, lam, power)
    graph = source_of(source, left_out, n_jobs)
    setting.check(neighbours, source, n_query, top_k, graph)
    if read_on_card(source, chosen) and isinstance(graph, MemberFeatures):
        from ensemble.neighbours import on_card

        wide = reach(top_k, source.n - n_query, left_out)
        if wide is None:
            stream = on_card.stream(neighbours, source, graph, n_query, setting, left_out)
            return ranked(stream, top_k, n_jobs, left_out)
        order, dist = on_card.first_k(neighbours, source, graph, n_query, setting, wide, left_out)
        return left_out.drop(order, dist, top_k) if left_out else (order, dist)
    rows = reranked_rows(
        neighbours, source, n_query, encode(neighbours, graph, setting, n_jobs), setting, n_jobs, left_out
    )
    return reranked_lists(neighbours, source, rows, top_k, left_out)


def _first_k(neighbours: Neighbours, source: SimilaritySource, rows: Reranked, top_k: int) -> Ranked:
    """Lists of length K from each query's nearest gallery images and the images that overlap with it."""
    n_query = rows.n_query
    setting = rows.setting
    n_jobs = rows.n_jobs
    k = min(top_k, rows.n_gallery)
    near, near_dist, complete = _candidates(neighbours, source, rows, k)
    settings = setting.power, np.float32(setting.lam)

    def work(part: slice) -> tuple[NDArray, NDArray, NDArray]:
        found, farthest = rows.overlap.of(part), rows.farthest[part]
        extra_ptr, extra = ranked_lists.unlisted(near[part], near_dist[part], k, *found, farthest, *settings)
        ids = np.arange(part.start, part.stop)
        extra_dist = source.pairs(ids, extra_ptr, found[1][extra] + np.int32(n_query))
        rest: tuple[Any, ...] = *found, extra_ptr, extra, extra_dist, farthest, *settings
        return ranked_lists.merged(near[part], near_dist[part], k, *rest)

    order, dist, sure = (np.concatenate(c) for c in zip(*over_rows(work, n_query, n_jobs), strict=True))
    for part, _ in [] if complete else runs(np.flatnonzero(~sure), [(slice(0, n_query), slice(0))]):
        whole = rows.exact(part)
        order[part], dist[part] = ranked_lists.smallest(whole, k)
    return order, dist


def _candidates(
    neighbours: Neighbours, source: SimilaritySource, rows: Reranked, k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], bool]:
    """Candidates by s alone: gallery images (Q, K), their distances, and whether no other image can be in the first k.

    With lam = 0 all images without overlap have distance 1; the first of them by index are listed.
    """
    n_query, n_gallery = rows.n_query, rows.n_gallery
    if rows.setting.lam == 0:
        order = np.tile(np.arange(k, dtype=np.int32), (n_query, 1))
        return order, np.zeros(order.shape, np.float32), True
    near = neighbours.near_order
    dist = neighbours.near_dist
    wide = min(k + 1, n_gallery)
    if near is None or dist is None or len(near) != n_query or near.shape[1] < wide:
        near, dist = nearest_gallery(source, n_query, min(k + SPARE, n_gallery), device="cpu", n_jobs=rows.n_jobs)
    trimmed = np.ascontiguousarray(near[:, : k + SPARE]), np.ascontiguousarray(dist[:, : k + SPARE])
    return *trimmed, trimmed[0].shape[1] == n_gallery
