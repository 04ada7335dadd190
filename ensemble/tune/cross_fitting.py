"""Cross-fitting: choose settings on one half of the persons, score them on the other half, and the reverse.

The query identities are split into two halves without a common person. Both halves use the full gallery: images of the
other half act as distractors, and re-ranking sees them without labels. So no label of the scored half affects the
choice. Both halves share the gallery and the cameras: the score holds for other persons in a similar search, not for
another gallery.
The final settings are chosen on all persons; their score there is not reported as a gain.

Two choices are tested, in this order:

1. re-ranking settings at equal weights, against the defaults;
2. weights with their own settings, against the result so far.

A choice is accepted only if its cross-fitted gain is more than chance in a paired bootstrap over persons. Each test has
level 97.5 %, so both together err with at most 5 % (Bonferroni). If domains are tuned separately, the 5 % are split
over all their tests.
A member that alone is not better than chance gets no weight: with few persons, noise could earn it one.
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
ERROR = 0.05  # of all tests together
LEAST_PERSONS = 10  # with fewer, the halves are too small
Totals = Callable[[FusionSettings], NDArray[np.float64]]


@dataclass(frozen=True)
class TuningStep:
    """One kind of choice.

    Attributes:
        chosen: settings chosen on the first half, on the second half, and on all persons.
        noise: members left out of each.
        total: cross-fitted total of all queries, each scored with the other half's choice.
        gain: gain of `total` over the settings `over`.
        apparent: gain over `over` on the persons that the choice was made on.
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
        """Apparent gain minus cross-fitted gain."""
        return self.apparent - self.gain.mean

    @property
    def taken(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain.low > 0


@dataclass(frozen=True)
class TuningResult:
    """The result of tuning.

    Attributes:
        base: equal weights and default settings, with their total.
        mix: the settings to build with.
        before, after: (Q,) totals of the base and of the accepted choice, each query by the other half's choice.
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
    """The level of each test's interval, for this number of tuning tasks."""
    return 1 - ERROR / (len(RUNGS) * problems)


def persons_asking(pids: NDArray[np.int64], asked: NDArray[np.bool_]) -> int:
    """Number of persons among the queries that count."""
    return len(np.unique(pids[asked]))


def too_few(persons: int) -> str:
    """A message if there are too few persons; empty if there are enough."""
    if persons >= LEAST_PERSONS:
        return ""
    return (
        f"{persons} query identities; tuning on one half and scoring on the other needs at least "
        f"{LEAST_PERSONS}. Hold out more: --holdout, or python -m ensemble.split"
    )


def split_persons(
    pids: NDArray[np.int64], asked: NDArray[np.bool_], seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two masks (Q,) of the queries that count: a random half of the persons each, without a common person.

    Args:
        pids: (Q,) identity of each query.
        asked: (Q,) whether the query can be scored.

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
    """Choose settings, cross-fit and decide.

    Args:
        fast: settings -> (Q,) total of each query, for the search; NaN if it cannot be scored.
        exact: the same, for every reported score and every decision.
        pids: (Q,) identity of each query.
        base: equal weights and default settings.
        seed: of the halves and the bootstrap.
        problems: number of tuning tasks, this one included.
        chance: (Q,) total of each query for random lists. None: no member is tested against chance.
    """
    before = exact(base)
    asked = ~np.isnan(before)
    parts = split_persons(pids, asked, seed)
    rungs: list[TuningStep] = []
    taken = base
    over = "default"
    held = before
    starts = (base, base, base)
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
            taken = chosen[2]
            over = name
            held = crossed
    counted = persons_asking(pids, asked), int(asked.sum())
    return TuningResult(base, float(before[asked].mean()), tuple(rungs), taken, *counted, before, held)


def noise_among(
    fast: Totals,
    base: FusionSettings,
    pids: NDArray[np.int64],
    part: NDArray[np.bool_],
    chance: NDArray[np.float64] | None,
) -> tuple[int, ...]:
    """The members whose total alone is not significantly above chance (5 %, one-sided) on these queries; never all."""
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
