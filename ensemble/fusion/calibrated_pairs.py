"""Distances from calibrated evidence: the pool of each query by summed log-odds, the rest by the plain sum.

A query's pool holds its nearest gallery images by the plain sum and by each member, with all that tie with the last.

- In the pool the distance is -log P(same identity), from the members' summed log-odds, plus TIE times the plain sum:
  where the log-odds are equal, as on a step of `isotonic`, the plain sum orders.
- Outside it the distance is the plain sum plus the largest distance in the pool: these images come after the pool, in
  the order of the plain sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.store.atomic_files import write_text
from configs.store.store import Store
from ensemble.fusion import calibration
from ensemble.fusion.calibration import Calibration, Doubles, Line
from ensemble.neighbours.distance_blocks import Block
from ensemble.results.build_record import Evaluation

TIE = 1e-3
FILE = "calibration.json"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QueryCalibrations:
    """The calibration of each query. Cross-fitted queries have that which was learned on others.

    Attributes:
        learned: one or several.
        of_query: (Q,) which one is a query's; empty if all have the first.
    """

    learned: tuple[Calibration, ...]
    of_query: tuple[int, ...] = ()

    def taken(self, members: Sequence[int]) -> QueryCalibrations:
        """The same of some members."""

        def some(one: Calibration) -> Calibration:
            return replace(
                one, curves=tuple(one.curves[m] for m in members), weights=tuple(one.weights[m] for m in members)
            )

        return replace(self, learned=tuple(map(some, self.learned)))

    def log_odds(self, query: NDArray[np.intp], sims: Floats, weights: Sequence[float]) -> Doubles:
        """(n,) log-odds of pairs. query: (n,) of each pair. sims: (M, n)."""
        which = np.array(self.of_query)[query] if self.of_query else np.zeros(len(query), int)
        out = np.empty(len(query))
        for number, one in enumerate(self.learned):
            mine = which == number
            out[mine] = one.log_odds(sims[:, mine], weights)
        return out


def in_pool(dists: Sequence[Floats], plain: Floats, pool: int) -> NDArray[np.bool_]:
    """(b, G) whether a pair is in the pool. dists: (b, G) of each member; infinite where an image is left out."""
    k = min(pool, plain.shape[1]) - 1
    near = np.zeros(plain.shape, bool)
    for dist in (plain, *dists):
        near |= dist <= np.partition(dist, k, axis=1)[:, k, None]
    return near & np.isfinite(plain)


def _together(streams: Sequence[Iterable[Block]], weights: Sequence[float]) -> Iterator[tuple[slice, Any, Floats]]:
    """(queries, each member's distances, their plain sum)."""
    for parts in zip(*streams, strict=True):
        rows, dists = parts[0][0], [dist for _, dist in parts]
        yield rows, dists, sum(np.float32(w) * dist for w, dist in zip(weights, dists, strict=True))


def calibrated(
    streams: Sequence[Iterable[Block]], weights: Sequence[float], learned: QueryCalibrations, pool: int
) -> Iterator[Block]:
    """One stream of distances from a stream of each member. weights: of the log-odds, and of the plain sum."""
    for rows, dists, plain in _together(streams, weights):
        near = in_pool(dists, plain, pool)
        query = np.nonzero(near)[0] + rows.start
        evidence = learned.log_odds(query, 1 - np.stack([dist[near] for dist in dists]), weights)
        own = np.zeros(plain.shape)
        own[near] = np.logaddexp(0, -evidence) + TIE * plain[near]
        yield rows, np.where(near, own, plain + own.max(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class LabelledPairs:
    """Pairs of pools whose identities are known.

    Attributes:
        query: (n,) the query of each.
        sims: (M, n) similarities, 1 - distance.
        same: (n,) whether it shows one identity.
    """

    query: NDArray[np.intp]
    sims: Floats
    same: NDArray[np.bool_]

    def of(self, kept: NDArray[np.bool_]) -> LabelledPairs:
        """The pairs of some queries. kept: (Q,)."""
        mine = kept[self.query]
        return LabelledPairs(self.query[mine], self.sims[:, mine], self.same[mine])

    def fit(self, name: str, weights: Sequence[float]) -> Calibration:
        """`calibration.fit` on these pairs. weights: of all members; `sims` are of those with a weight."""
        found = calibration.fit(self.sims, self.same, name=name, weights=[w for w in weights if w > 0])
        own = iter(found.curves)
        curves = tuple(next(own) if w > 0 else Line(0.0, 0.0) for w in weights)
        return replace(found, curves=curves, weights=tuple(weights))


def labelled_pairs(
    streams: Sequence[Iterable[Block]],
    weights: Sequence[float],
    pool: int,
    pids: tuple[ArrayLike, ArrayLike],
    camids: tuple[ArrayLike, ArrayLike] | None,
) -> LabelledPairs:
    """The pairs of all pools. An image of unknown identity is in none.

    Args:
        pids: of queries and gallery, -1 unknown.
        camids: the same, where images of a query's identity and camera do not count; they are in no pair.
    """
    asked, there = (np.asarray(one, np.int64) for one in pids)
    seen, stood = (np.asarray(one, np.int64) for one in camids) if camids else (asked, there)
    parts: list[LabelledPairs] = []
    for rows, dists, plain in _together(streams, weights):
        at, column = np.nonzero(in_pool(dists, plain, pool))
        query = at + rows.start
        same = asked[query] == there[column]
        junk = same & (seen[query] == stood[column]) & (seen[query] >= 0) & (camids is not None)
        known = (asked[query] >= 0) & (there[column] >= 0) & ~junk
        sims = 1 - np.stack([dist[at[known], column[known]] for dist in dists])
        parts.append(LabelledPairs(query[known], sims, same[known]))
    return joined(parts)


def joined(parts: Sequence[LabelledPairs]) -> LabelledPairs:
    """All pairs of several parts, in their order."""
    return LabelledPairs(
        np.concatenate([part.query for part in parts]),
        np.concatenate([part.sims for part in parts], axis=1),
        np.concatenate([part.same for part in parts]),
    )


def save(folder: Path, learned: QueryCalibrations) -> None:
    """Write the one file of a kept result."""
    told = {"learned": [calibration.as_dict(one) for one in learned.learned], "of_query": learned.of_query}
    write_text(folder / FILE, json.dumps(told) + "\n")


def load(folder: Path) -> QueryCalibrations:
    """Read it."""
    raw = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return QueryCalibrations(tuple(map(calibration.from_dict, raw["learned"])), tuple(raw["of_query"]))


def learned_for(store: Store, evaluation: Evaluation) -> QueryCalibrations | None:
    """What calibrates an evaluation's pairs; None of a build with another fusion."""
    return load(store.open(evaluation.calibration)) if evaluation.calibration else None
