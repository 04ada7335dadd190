"""Scores of clusters against identities: ARI, AMI, and precision, recall and F1 over pairs of images.

ARI: Hubert & Arabie, Journal of Classification 1985. AMI: Vinh, Epps & Bailey, JMLR 2010, with the arithmetic mean of
the entropies; the expected mutual information is summed over distinct sizes of clusters, so that it stays cheap.

Intervals are over identities: half of them are drawn without replacement (half-samples: McCarthy 1969; the delete-d
jackknife of Shao & Wu, Annals of Statistics 1989, with d half of all), and the deviations from the mean of the draws
are taken around the score. Draws with replacement would hold copies of an identity: each would be a false merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from ensemble.metrics.bootstrap import Interval
from ensemble.metrics.competition_score import data_digest
from ensemble.metrics.named_score import NamedScore, sign

Ints = NDArray[np.int64]
NAMES = ("ari", "ami", "pair_precision", "pair_recall", "pair_f1")
DRAWS = 200
LEAST = 4  # identities for an interval


@dataclass(frozen=True)
class _Table:
    """The contingency table: sizes of the cells that are not empty, of the identities, and of the clusters."""

    cells: Ints
    row: Ints
    column: Ints
    pids: Ints
    clusters: Ints

    @property
    def n(self) -> int:
        return int(self.pids.sum())


def cluster_figures(labels: ArrayLike, pids: ArrayLike) -> dict[str, float]:
    """The five scores by name, from -1 or 0 to 1.

    Args:
        labels: (N,) clusters; any whole numbers.
        pids: (N,) identities, -1 for unknown: such images do not count.

    Raises:
        ValueError: different lengths, or no known identity.
    """
    clusters, people = _checked(labels, pids)
    return _figures(_table(clusters, people))


def cluster_scores(
    labels: ArrayLike,
    pids: ArrayLike,
    *,
    extra: Mapping[str, object] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[NamedScore]:
    """The five scores with intervals over identities. Arguments as in `cluster_figures`.

    With fewer than LEAST identities, bounds are NaN.
    """
    clusters, people = _checked(labels, pids)
    table = _table(clusters, people)
    whole = _figures(table)
    said = {
        "images": table.n,
        "identities": table.pids.size,
        "clusters": table.clusters.size,
        "data": data_digest(people),
        **(extra or {}),
    }
    spread = _half_samples(clusters, people, draws, seed) if table.pids.size >= LEAST else None
    out = []
    for name in NAMES:
        low = high = np.nan
        if spread is not None:
            off = np.quantile(spread[name], [(1 - level) / 2, (1 + level) / 2])
            low, high = (min(1.0, whole[name] + float(x)) for x in off)
        out.append(NamedScore(name, Interval(whole[name], low, high, level), sign(name, said)))
    return out


def _checked(labels: ArrayLike, pids: ArrayLike) -> tuple[Ints, Ints]:
    clusters, people = np.asarray(labels, np.int64), np.asarray(pids, np.int64)
    if clusters.ndim != 1 or clusters.shape != people.shape:
        raise ValueError(f"labels of shape {clusters.shape}, pids of shape {people.shape}: want (N,), one an image")
    known = people >= 0
    if not known.any():
        raise ValueError("no image has a known identity: there is nothing to score")
    one, other = (np.unique(x[known], return_inverse=True)[1].astype(np.int64) for x in (clusters, people))
    return one, other


def _table(clusters: Ints, people: Ints) -> _Table:
    width = int(clusters.max()) + 1
    keys, cells = np.unique(people * width + clusters, return_counts=True)
    sizes = np.bincount(people), np.bincount(clusters)
    return _Table(cells, keys // width, keys % width, *(s[s > 0] for s in sizes))


def _figures(table: _Table) -> dict[str, float]:
    right, wanted, answered = (_pairs(x) for x in (table.cells, table.pids, table.clusters))
    every = _pairs(np.array([table.n]))
    by_chance = wanted * answered / every if every else 0.0
    most = (wanted + answered) / 2
    same = right == wanted == answered
    return {
        "ari": 1.0 if same else (right - by_chance) / (most - by_chance),
        "ami": 1.0 if same else _ami(table),
        "pair_precision": right / answered if answered else float(not wanted),
        "pair_recall": right / wanted if wanted else 1.0,
        "pair_f1": 2 * right / (wanted + answered) if wanted + answered else 1.0,
    }


def _pairs(sizes: Ints) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _ami(table: _Table) -> float:
    n = table.n
    sizes = np.bincount(table.row, table.cells)[table.row], np.bincount(table.column, table.cells)[table.column]
    mutual = float((table.cells / n * np.log(n * table.cells / (sizes[0] * sizes[1]))).sum())
    entropies = [float(-(s / n * np.log(s / n)).sum()) for s in (table.pids, table.clusters)]
    expected = _expected_mutual(table)
    room = sum(entropies) / 2 - expected
    return (mutual - expected) / room if abs(room) > 1e-12 else 0.0


def _expected_mutual(table: _Table) -> float:
    """Expected mutual information of two partitions with these sizes (Vinh et al., equation 24a)."""
    n, total = table.n, 0.0
    (rows, row_times), (columns, column_times) = (
        np.unique(s, return_counts=True) for s in (table.pids, table.clusters)
    )
    for a, times in zip(rows.tolist(), row_times.tolist(), strict=True):
        for b, often in zip(columns.tolist(), column_times.tolist(), strict=True):
            k = np.arange(max(1, a + b - n), min(a, b) + 1)
            log = gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1) - gammaln(n + 1)
            log = log - gammaln(k + 1) - gammaln(a - k + 1) - gammaln(b - k + 1) - gammaln(n - a - b + k + 1)
            total += times * often * float((k / n * np.log(n * k / (a * b)) * np.exp(log)).sum())
    return total


def _half_samples(clusters: Ints, people: Ints, draws: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Name -> (draws,) deviations of the scores of half of the identities from the mean of the draws."""
    rng, n = np.random.default_rng(seed), int(people.max()) + 1
    order = np.argsort(people, kind="stable")
    begins = np.searchsorted(people[order], np.arange(n + 1))
    images = [order[a:b] for a, b in pairwise(begins)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([images[i] for i in rng.permutation(n)[: n // 2]])
        found.append(_figures(_table(*_checked(clusters[rows], people[rows]))))
    scale = np.sqrt((n // 2) / (n - n // 2))
    columns = {name: np.array([one[name] for one in found]) for name in NAMES}
    return {name: scale * (column - column.mean()) for name, column in columns.items()}
