"""Scores of answers that name an identity, or say that it is new; and the identity-balanced mAP.

BAKS, BAUS and their geometric mean: AnimalCLEF 2025. BAKS is the balanced accuracy on images of known identities, BAUS
that on images of new ones: the share of right answers of each identity, averaged over identities.
MAP@5: Happywhale (Kaggle 2022). An image has one right answer, its identity or new; its precision is 1 / rank.
Identity-balanced mAP (Jaguar re-identification, Kaggle 2026): the mean over identities of their queries' mean AP.
Intervals are percentiles of the bootstrap over identities; known and new ones are drawn each among themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.metrics.bootstrap import DRAWS, Interval, interval
from ensemble.metrics.competition_score import data_digest
from ensemble.metrics.named_score import NamedScore, sign

NEW, NOBODY = -1, -2  # answers: a new individual; no answer


def known_or_new(
    answers: ArrayLike,
    pids: ArrayLike,
    known: ArrayLike,
    *,
    extra: Mapping[str, object] | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[NamedScore]:
    """`baks`, `baus` and `baks_baus`, their geometric mean. NaN where no image is of a known, or a new, identity.

    Args:
        answers: (Q,) identity of each image, or NEW.
        pids: (Q,) true identities, -1 for unknown truth: such images do not count.
        known: the identities that an answer could name; all others are new.

    Raises:
        ValueError: different lengths, or no true identity.
    """
    truth, *shares = _known_and_new(answers, pids, known)
    rng = np.random.default_rng(seed)
    drawn = [_drawn(s, draws, rng) for s in shares]
    columns = (*drawn, np.sqrt(drawn[0] * drawn[1]))
    figures = known_or_new_figures(answers, pids, known)
    facts = {
        "images": truth.size,
        "identities": f"{shares[0].size}+{shares[1].size}",
        "data": data_digest(truth, np.sort(np.unique(np.asarray(known, np.int64)))),
        **(extra or {}),
    }
    out = []
    for (name, mean), column in zip(figures.items(), columns, strict=True):
        low, high = (float(x) for x in np.quantile(column, [(1 - level) / 2, (1 + level) / 2]))
        out.append(NamedScore(name, Interval(mean, low, high, level), sign(name, facts)))
    return out


def known_or_new_figures(answers: ArrayLike, pids: ArrayLike, known: ArrayLike) -> dict[str, float]:
    """The three scores by name, without intervals. Arguments as in `known_or_new`."""
    _, *shares = _known_and_new(answers, pids, known)
    baks, baus = (float(s.mean()) if s.size else np.nan for s in shares)
    return {"baks": baks, "baus": baus, "baks_baus": float(np.sqrt(baks * baus))}


def _known_and_new(
    answers: ArrayLike, pids: ArrayLike, known: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The true identities that count; the share of right answers of each known identity, and of each new one."""
    said, truth = _checked(answers, pids)
    there = np.isin(truth, np.asarray(known, np.int64))
    return truth, _shares(said == truth, truth, there), _shares(said == NEW, truth, ~there)


def map_at(
    answers: ArrayLike,
    pids: ArrayLike,
    known: ArrayLike,
    *,
    extra: Mapping[str, object] | None = None,
    seed: int = 0,
) -> NamedScore:
    """`map@K`: the mean of 1 / rank of the right answer, 0 where it is missing.

    Args:
        answers: (Q, K) identities, best first; NEW for a new individual, NOBODY behind the last answer.
        pids, known: as in `known_or_new`. NEW is the right answer to an identity that is not known.

    Raises:
        ValueError: as there; or an image has the same answer twice.
    """
    lists, truth = np.asarray(answers, np.int64), np.asarray(pids, np.int64)
    if lists.ndim != 2 or truth.shape != lists.shape[:1]:
        raise ValueError(f"answers of shape {lists.shape}, pids of shape {truth.shape}: want (Q, K) and (Q,)")
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NOBODY)).any():
        raise ValueError("an image has the same answer twice")
    counted = truth >= 0
    if not counted.any():
        raise ValueError("no image has a true identity: there is nothing to score")
    lists, truth = lists[counted], truth[counted]
    wanted = np.where(np.isin(truth, np.asarray(known, np.int64)), truth, NEW)
    found = lists == wanted[:, None]
    precision = np.where(found.any(axis=1), 1 / (found.argmax(axis=1) + 1), 0.0)
    name = f"map@{lists.shape[1]}"
    facts = {"images": truth.size, "identities": np.unique(truth).size, "data": data_digest(truth, np.unique(wanted))}
    return NamedScore(name, interval(precision, groups=truth, seed=seed), sign(name, facts | dict(extra or {})))


def identity_balanced_map(
    ap_per_query: ArrayLike, pids: ArrayLike, *, extra: Mapping[str, object] | None = None, seed: int = 0
) -> NamedScore:
    """`identity_map`: the mean over identities of the mean AP of their queries.

    Args:
        ap_per_query: (Q,) of a `Score`; NaN for skipped queries, which do not count.
        pids: (Q,) identities of the queries.

    Raises:
        ValueError: different lengths, or no query counts.
    """
    ap, people = np.asarray(ap_per_query, np.float64), np.asarray(pids, np.int64)
    if ap.ndim != 1 or ap.shape != people.shape:
        raise ValueError(f"ap of shape {ap.shape}, pids of shape {people.shape}: want (Q,), one a query")
    kept = ~np.isnan(ap)
    means = _shares(ap[kept], people[kept], np.ones(int(kept.sum()), bool))
    facts = {"queries": int(kept.sum()), "identities": means.size, "data": data_digest(people), **(extra or {})}
    return NamedScore("identity_map", interval(means, seed=seed), sign("identity_map", facts))


def _checked(answers: ArrayLike, pids: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    said, truth = np.asarray(answers, np.int64), np.asarray(pids, np.int64)
    if said.ndim != 1 or said.shape != truth.shape:
        raise ValueError(f"answers of shape {said.shape}, pids of shape {truth.shape}: want (Q,), one an image")
    if not (truth >= 0).any():
        raise ValueError("no image has a true identity: there is nothing to score")
    return said[truth >= 0], truth[truth >= 0]


def _shares(values: NDArray, pids: NDArray[np.int64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of some images' values for each of their identities."""
    _, which = np.unique(pids[rows], return_inverse=True)
    return np.bincount(which, values[rows].astype(np.float64)) / np.bincount(which) if which.size else np.empty(0)


def _drawn(shares: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) means of identities drawn with replacement; NaN without any."""
    if not shares.size:
        return np.full(draws, np.nan)
    return np.array([shares[rng.integers(0, shares.size, shares.size)].mean() for _ in range(draws)])
