"""What clusters with known identities answer: an image's identity, or that it is new."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ensemble.clusters.pair_graph import Labels, PairGraph
from ensemble.metrics.identity_metrics import NEW


def answers_of(labels: Labels, known: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,) the known identity of each image's cluster, or NEW.

    Args:
        labels: (N,) clusters, none with two known identities.
        known: (N,) identities, -1 for unknown.
    """
    of = np.full(labels.max(initial=-1) + 1, NEW)
    of[labels[known >= 0]] = known[known >= 0]
    answers: NDArray[np.int64] = of[labels]
    return answers


def without(graph: PairGraph, gone: NDArray[np.bool_]) -> PairGraph:
    """The graph without some images' pairs; the images stay, each alone."""
    keep = ~(gone[graph.first] | gone[graph.second])
    return replace(graph, first=graph.first[keep], second=graph.second[keep], dist=graph.dist[keep])
