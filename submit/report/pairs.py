"""The nearest pairs of images: near-duplicates and, with identities, pairs with different labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ensemble.neighbours.knn import load_neighbours, nearest
from submit.report.report_input import ReportedEvaluation, ReportInput

MOST = 60
AMONG = 12  # neighbours per image that are searched


@dataclass(frozen=True)
class Pair:
    """Two images as rows 0..N-1, queries first. similar: mean cosine over the members, 1 for copies."""

    one: int
    other: int
    similar: float


def nearest_pairs(
    subject: ReportInput, trial: ReportedEvaluation, device: str = "auto"
) -> tuple[list[Pair], list[Pair]]:
    """The most similar pairs, and the most similar pairs of different known identities."""
    weights = subject.weights(trial) if len(trial.banks) > 1 else [1.0]
    left_out = trial.evaluation.left_out
    if trial.evaluation.neighbours:
        found = load_neighbours(subject.store.open(trial.evaluation.neighbours))
    else:
        feats = [bank.feats for bank in trial.banks]
        found = nearest(feats, min(AMONG, len(feats[0])), weights=weights, left_out=left_out, device=device)
    order, dist = np.asarray(found.order[:, :AMONG]), np.asarray(found.dist[:, :AMONG], np.float64)
    one = np.repeat(np.arange(len(order)), order.shape[1])
    other, similar = order.ravel(), 1 - dist.ravel() / sum(weights)
    forward = one < other
    mutual = forward | ~np.isin(other * len(order) + one, (one * len(order) + other)[forward])
    keep = mutual & (one != other)
    one = one[keep]
    other = other[keep]
    similar = similar[keep]
    if left_out is not None and left_out.overlaps:  # an image of both lists is one image, and has one row of the two
        n = len(trial.query) + len(trial.gallery)
        rows = np.arange(n)[left_out.union(n).rows]
        one, other = rows[one], rows[other]
    pids = np.concatenate([trial.query.pids, trial.gallery.pids])
    unlike = (pids[one] != pids[other]) & (pids[one] >= 0) & (pids[other] >= 0)
    return _best(one, other, similar), _best(one[unlike], other[unlike], similar[unlike])


def _best(one: np.ndarray, other: np.ndarray, similar: np.ndarray) -> list[Pair]:
    best = np.argsort(-similar, kind="stable")[:MOST]
    return [Pair(int(min(one[i], other[i])), int(max(one[i], other[i])), float(similar[i])) for i in best]
