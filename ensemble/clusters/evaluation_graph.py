"""The sparse graph of all images of an evaluation, from its ranking or from a search of all images among all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.schema import Ensemble
from configs.store.store import Store
from ensemble.clusters.pair_graph import PairGraph, graph_of_lists
from ensemble.features.feature_bank import feature_arrays, open_banks
from ensemble.fusion.partitions import mixes_of, partitions_of
from ensemble.fusion.strategy import FusionSettings, fusion_settings, rerank_each_then_sum
from ensemble.kernels.left_out import ITSELF, LeftOut, leave_out
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.knn import nearest
from ensemble.results.build_record import Evaluation, all_camids, all_groups
from ensemble.results.ranking import load_ranking


@dataclass(frozen=True)
class EvaluationGraph:
    """The images of an evaluation, each once, and their graph.

    Attributes:
        query: (Q,) image of each query.
        gallery: (G,) image of each gallery row.
        how: members, distance and domains, for signatures.
    """

    graph: PairGraph
    query: NDArray[np.int64]
    gallery: NDArray[np.int64]
    how: dict[str, str]

    def spread(self, query: Sequence[int], gallery: Sequence[int]) -> NDArray[np.int64]:
        """(N,) a value for every image from those of both lists; a gallery image has the gallery's."""
        values = np.full(self.graph.n, -1, np.int64)
        values[self.query] = query
        values[self.gallery] = gallery
        return values

    @property
    def alone(self) -> NDArray[np.bool_]:
        """(N,) whether an image is in the gallery and no query."""
        found = np.zeros(self.graph.n, bool)
        found[self.gallery] = True
        found[self.query] = False
        return found


def graph_of_evaluation(
    store: Store, evaluation: Evaluation, ensemble: Ensemble, top_k: int, device: str
) -> EvaluationGraph:
    """Distances as the plan re-ranks them, or the members' weighted mean cosine distance where it does not.

    If query and gallery are the same list, the ranking has the distances. Else all images are searched among all, with
    lists of top_k.

    Raises:
        ConfigError: tracks; domains in a set whose images are not both; members given as distances.
    """
    e, banks = evaluation, open_banks(store, evaluation.banks)
    n_query, n_gallery = banks[0].n_query, len(banks[0].feats) - banks[0].n_query
    mix = fusion_settings(ensemble, [bank.member for bank in banks])
    own = np.array(e.own, np.int64) if e.own else np.full(n_query, -1)
    same = leave_out(n_query, n_gallery, own)
    images = same.union(n_query + n_gallery).place if same else np.arange(n_query + n_gallery)
    sides = images[:n_query], images[n_query:]
    members = "+".join(f"{b.member}*{w:g}" for b, w in zip(banks, mix.weights, strict=True))
    how = {"members": members, "distance": mix.describe()}
    if ensemble.tracks != "none":
        raise ConfigError("ensemble.tracks=mean has one distance a track; clusters of images need ensemble.tracks=none")
    whole = np.array_equal(own, np.arange(n_gallery)) and e.left_out is not None
    if whole and e.left_out.rules == (ITSELF,):  # type: ignore[union-attr]
        ranking = load_ranking(store.open(e.ranking))
        order, dist = ranking.order, ranking.dist
        if e.kinds is None:
            return EvaluationGraph(graph_of_lists(order, dist, scale=_scale(mix)), *sides, how)
        scales, parts = np.ones(n_query, np.float32), partitions_of(e.kinds, n_query, len(banks[0].feats))
        for part, one in zip(parts, mixes_of(ensemble, list(e.banks), parts), strict=True):
            scales[part.query] = _scale(one)
        apart = np.array(e.kinds.gallery_domains)
        graph = graph_of_lists(order, dist, scale=scales, apart=apart if apart.size else None)
        return EvaluationGraph(graph, *sides, how | {"domains": ensemble.domains})
    if e.kinds is not None:
        raise ConfigError(
            "clusters of a build with ensemble.domains need every image as query and gallery (competition.junk=itself)"
        )
    rows = np.unique(images, return_index=True)[1]
    feats = [a[rows] for a in feature_arrays(banks, "clusters")]
    order, dist = search_all(mix, feats, top_k, device, all_camids(e)[rows], all_groups(e)[rows])
    return EvaluationGraph(graph_of_lists(order, dist, scale=_scale(mix)), *sides, how)


def _scale(mix: FusionSettings) -> float:
    """What its distances are divided by: a re-ranked distance is 0 to 1, a sum of M distances is a sum of M."""
    return sum(mix.weights) if mix.each_first or not mix.reranks else 1.0


def search_all(
    mix: FusionSettings,
    feats: Sequence[NDArray[np.float32]],
    top_k: int,
    device: str,
    camids: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> distance_blocks.Ranked:
    """The lists of all images among all, each left out of its own."""
    n = len(feats[0])
    twice = [np.concatenate((a, a)) for a in feats]
    left_out: LeftOut | None = leave_out(n, n, np.arange(n))
    cams, own = np.tile(camids, 2), np.tile(groups, 2)
    given: dict[str, Any] = {"device": device, "left_out": left_out, "penalties": mix.penalties(cams)}
    k, read = mix.reranker.neighbours_read(2 * n), mix.groups(own)
    pairs = [(a, w) for a, w in zip(twice, mix.weights, strict=True) if w > 0]
    if mix.each_first:
        near = [nearest([a], k, n_query=n, groups=read, **given) if k else None for a, _ in pairs]
        used, weights = [a for a, _ in pairs], [w for _, w in pairs]
        stream = rerank_each_then_sum(mix, used, near, n, weights, device, cams, left_out)
        return distance_blocks.ranked(stream, top_k, left_out=left_out)
    given["weights"] = mix.weights
    found = nearest(twice, k, n_query=n, top_k=top_k, groups=read, **given) if k else None
    return mix.reranker.lists(found, twice, n, top_k=top_k, **given)
