"""Settings chosen on one half of the persons and scored on the other, and the reverse: what a choice is really worth.

Two halves of the queries' identities; no person asks in both. The gallery stays whole for either half, as it is when a
query is answered: the other half's images are then in the way as strangers' images are, and re-ranking sees them
without their names. So no label of the scored half has any part in the choice. But both halves share the gallery and
the cameras: the figure speaks of other persons in a search like this one, not of a gallery of another size or place.
What is chosen in the end is chosen on all persons; its own score there is not reported as a gain.

A choice is taken only where its cross-fitted gain is more than chance, by a paired bootstrap over persons: first the
settings of the re-ranking at equal weights against the defaults, then the weights, with settings of their own, against
what was taken so far. A member that alone is not better than chance on the persons that choose gets no weight: with few
persons the luck of a member of noise would earn it one. Two looks are made, each at 97.5 %, so that both together err
with 5 % at most (Bonferroni); where domains are tuned one by one, each has its halves, and 5 % is shared out over all
their looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from ensemble.fusion.strategy import FusionSettings
from ensemble.metrics.bootstrap import Interval, difference
from ensemble.tune.ensemble_selection import SearchSpace, hill_climb, normalised, select_and_climb

RUNGS = ("settings", "weights and settings")
ERROR = 0.05  # of all looks together
LEAST_PERSONS = 10  # with fewer, every half is an anecdote
Totals = Callable[[FusionSettings], NDArray[np.float64]]


@dataclass(frozen=True)
class TuningStep:
    """One kind of choice. chosen: on the first half, on the second, on all. noise: the members left out of each.

    total: cross-fitted, of all queries, each scored under what the other half chose. gain: of that on `over`.
    apparent: the gain on `over` that each half shows on the very persons it was chosen on.
    """

    name: str
    over: str
    chosen: tuple[FusionSettings, FusionSettings, FusionSettings]
    total: float
    gain: Interval
    apparent: float
    noise: tuple[tuple[int, ...], ...] = ((), (), ())

    @property
    def optimism(self) -> float:
        """How much better the choice looks where it was made than where it was not."""
        return self.apparent - self.gain.mean

    @property
    def taken(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain.low > 0


@dataclass(frozen=True)
class TuningResult:
    """What came of it. base: equal weights, default settings, and its total. mix: what to build with.

    before, after: (Q,) totals of the base, and of what was taken, each query by what the other half chose.
    """

    base: FusionSettings
    base_total: float
    rungs: tuple[TuningStep, ...]
    mix: FusionSettings
    persons: int
    queries: int
    before: NDArray[np.float64] = field(repr=False, compare=False)
    after: NDArray[np.float64] = field(repr=False, compare=False)


def level_of(problems: int) -> float:
    """Of each look's interval, where so many problems are tuned."""
    return 1 - ERROR / (len(RUNGS) * problems)


def persons_asking(pids: NDArray[np.int64], asked: NDArray[np.bool_]) -> int:
    """How many there are among the queries that count."""
    return len(np.unique(pids[asked]))


def too_few(persons: int) -> str:
    """Why nothing is chosen on so few persons; nothing where they suffice."""
    if persons >= LEAST_PERSONS:
        return ""
    return (
        f"{persons} persons ask here; choosing on one half and scoring on the other wants at least "
        f"{LEAST_PERSONS}. Hold more aside: --holdout, or python -m ensemble.split"
    )


def split_persons(
    pids: NDArray[np.int64], asked: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks (Q,) of the queries that count: persons at random, one half each, none in both.

    Args:
        pids: (Q,) whom each query shows. asked: (Q,) whether it can be scored.

    Raises:
        DataError: too few persons.
    """
    persons = np.unique(pids[asked])
    if too_few(len(persons)):
        raise DataError(too_few(len(persons)))
    drawn = np.random.default_rng([seed, 5]).permutation(persons)
    first = np.isin(pids, drawn[: len(drawn) // 2])
    return asked & first, asked & ~first


def tune(
    fast: Totals,
    exact: Totals,
    pids: NDArray[np.int64],
    base: FusionSettings,
    grid: SearchSpace,
    seed: int,
    problems: int = 1,
    chance: NDArray[np.float64] | None = None,
) -> TuningResult:
    """Choose, cross-fit and decide.

    Args:
        fast: a mix -> (Q,) each query's share of the total, for the search; NaN where it cannot be scored.
        exact: the same, for every figure that is reported and every decision.
        pids: (Q,) whom each query shows.
        base: equal weights and default settings.
        seed: of the halves and the bootstrap.
        problems: how many are tuned by themselves, this one among them.
        chance: (Q,) each query's share of the total in lists of no order; None: no member is asked to be better.
    """
    before = exact(base)
    asked = ~np.isnan(before)
    parts = split_persons(pids, asked, seed)
    rungs: list[TuningStep] = []
    taken, over, held, starts = base, "default", before, (base, base, base)
    for name in RUNGS[: min(2, len(base.weights))]:
        out = [() if name == RUNGS[0] else noise_among(fast, base, pids, part, chance) for part in (*parts, asked)]
        chosen = tuple(
            _choose(name, fast, part, start, grid, left)
            for part, start, left in zip((*parts, asked), starts, out, strict=True)
        )
        found = [exact(mix) for mix in chosen]
        crossed = np.where(parts[0], found[1], np.where(parts[1], found[0], np.nan))
        own = np.where(parts[0], found[0], np.where(parts[1], found[1], np.nan))
        gain = difference(crossed, held, groups=pids, level=level_of(problems), seed=seed)
        apparent = float(np.nanmean(own - held))
        three = chosen[0], chosen[1], chosen[2]
        rung = TuningStep(name, over, three, float(np.nanmean(crossed)), gain, apparent, tuple(out))
        rungs.append(rung)
        starts = rung.chosen
        if rung.taken:
            taken, over, held = chosen[2], name, crossed
    counted = persons_asking(pids, asked), int(asked.sum())
    return TuningResult(base, float(before[asked].mean()), tuple(rungs), taken, *counted, before, held)


def noise_among(
    fast: Totals,
    base: FusionSettings,
    pids: NDArray[np.int64],
    part: NDArray[np.bool_],
    chance: NDArray[np.float64] | None,
) -> tuple[int, ...]:
    """The members whose total alone is not above chance beyond doubt (5 %, one side) on these queries; never all."""
    if chance is None:
        return ()
    members, out = range(len(base.weights)), []
    for m in members:
        alone = fast(replace(base, weights=tuple(float(i == m) for i in members)))
        if difference(alone[part], chance[part], groups=pids[part], level=1 - 2 * ERROR).low <= 0:
            out.append(m)
    return tuple(out) if len(out) < len(members) else ()


def _choose(
    name: str, fast: Totals, part: NDArray[np.bool_], start: FusionSettings, grid: SearchSpace, noise: tuple[int, ...]
) -> FusionSettings:
    def score(mix: FusionSettings) -> float:
        return float(fast(mix)[part].mean())

    if name == RUNGS[0]:
        return hill_climb(score, normalised(start), grid)
    return select_and_climb(score, start, grid, [m for m in range(len(start.weights)) if m not in noise])
