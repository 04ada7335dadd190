"""The threshold of a method for an evaluation with labels: by ARI for clusters, by BAKS and BAUS for identities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.clusters.choose import Choice, Mask, choose_threshold
from ensemble.clusters.evaluation_graph import EvaluationGraph
from ensemble.clusters.named import answers_of, without
from ensemble.clusters.pair_graph import Labels
from ensemble.clusters.registry import Method
from ensemble.metrics.cluster_metrics import cluster_figures
from ensemble.metrics.identity_metrics import known_or_new_figures
from ensemble.results.build_record import Evaluation

With = Callable[[float], Method]  # the method with this threshold


@dataclass(frozen=True)
class Tuned:
    """A choice, and what it maximises: `ari`, or `baks_baus`. hidden: known identities that were treated as new."""

    choice: Choice
    score: str
    hidden: int = 0


def tune_clusters(found: EvaluationGraph, evaluation: Evaluation, method: With, seed: int = 0) -> Tuned:
    """The threshold of the best ARI over all images of known identity.

    Raises:
        DataError: too few identities.
    """
    pids = found.spread(evaluation.query_pids, evaluation.gallery_pids)

    def score(labels: Labels, rows: Mask) -> float:
        return cluster_figures(labels[rows], pids[rows])["ari"]

    choice = choose_threshold(lambda t: method(t).labels(found.graph), score, pids, pids >= 0, seed)
    return Tuned(choice, "ari")


def tune_identities(found: EvaluationGraph, evaluation: Evaluation, method: With, seed: int = 0) -> Tuned:
    """The threshold of the best geometric mean of BAKS and BAUS over the queries.

    Where every query's identity is in the gallery, half of the identities, drawn by the seed, are treated as new: their
    gallery images leave the graph.

    Raises:
        DataError: too few identities.
    """
    pids = found.spread(evaluation.query_pids, evaluation.gallery_pids)
    known = np.where(found.alone, pids, -1)
    asked = ~found.alone & (pids >= 0)
    there = np.unique(known[known >= 0])
    hidden = there[:0]
    if np.isin(pids[asked], there).all():
        hidden = np.random.default_rng([seed, 7]).permutation(there)[: len(there) // 2]
    gone = np.isin(known, hidden)
    graph = without(found.graph, gone)
    left = np.setdiff1d(there, hidden)

    def score(answers: NDArray[np.int64], rows: Mask) -> float:
        return known_or_new_figures(answers[rows], pids[rows], left)["baks_baus"]

    choice = choose_threshold(lambda t: answers_of(method(t).labels(graph, known), known), score, pids, asked, seed)
    return Tuned(choice, "baks_baus", len(hidden))
