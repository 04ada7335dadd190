"""The search for a mix: greedy selection of members with replacement, then line searches until nothing is gained.

Greedy selection is that of Caruana, Niculescu-Mizil, Crew & Ksikes (Ensemble Selection from Libraries of Models, ICML
2004): the member whose addition scores best joins the bag, again and again, and the best bag on the way is taken. A
member's weight is how often it is in the bag. The line searches then change one thing at a time: a weight, k1, k2, lam,
power, the fusion.

What is searched is a function of a mix; whom it is measured on is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from configs.schema import FUSIONS
from ensemble.fusion.strategy import Mix

Objective = Callable[[Mix], float]
LEAST_GAIN = 1e-9  # less is rounding
FACTORS = (0.0, 0.5, 0.75, 1.33, 2.0)


@dataclass(frozen=True)
class Grid:
    """What each setting may be. rounds: of line searches at most. steps: of greedy selection, the size of the bag.

    known: (k1, k2, lam) that teams have won with, tried together.
    """

    k1: tuple[int, ...] = (5, 7, 10, 14, 20, 28, 40)
    k2: tuple[int, ...] = (1, 2, 3, 4, 6, 8, 10)
    lam: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    power: tuple[int, ...] = (1, 2)
    fusion: tuple[str, ...] = FUSIONS
    known: tuple[tuple[int, int, float], ...] = (
        (6, 2, 0.3),
        (7, 2, 0.6),
        (10, 3, 0.6),
        (10, 3, 0.7),
        (14, 4, 0.4),
        (20, 3, 0.8),
        (50, 15, 0.5),
    )
    rounds: int = 4
    steps: int = 10

    @property
    def reach(self) -> int:
        """Neighbours a row that the largest settings read."""
        return max(*(k + 1 for k in self.k1), *self.k2, *(max(k1 + 1, k2) for k1, k2, _ in self.known))


def tidy(mix: Mix) -> Mix:
    """The same mix written in one way: the largest weight is 1; four digits; what has no part in it at its default."""
    largest = max(mix.weights)
    weights = tuple(round(w / largest, 4) for w in mix.weights)
    out = replace(mix, weights=weights)
    if mix.rerank == "none":
        return Mix(weights, rerank="none")
    return out if out.each else replace(out, fusion=Mix(weights).fusion)


def greedy(score: Objective, start: Mix, steps: int, among: Sequence[int]) -> Mix:
    """Greedy selection with replacement under the settings of `start`, whose own weights do not count.

    Of members that score the same the first is taken, of bags the smallest. among: the members to choose from.
    """
    bag = [0] * len(start.weights)
    best, best_score = start, -float("inf")
    for _ in range(steps):
        grown = {m: tidy(replace(start, weights=tuple(float(n + (i == m)) for i, n in enumerate(bag)))) for m in among}
        found = {m: score(mix) for m, mix in grown.items()}
        m = max(among, key=lambda i: (found[i], -i))
        bag[m] += 1
        if found[m] > best_score + LEAST_GAIN:
            best, best_score = grown[m], found[m]
    return best


def climb(score: Objective, start: Mix, grid: Grid, *, weights: Sequence[int] = ()) -> Mix:
    """Line searches over everything, one thing at a time, until a round gains nothing; over the weights of these
    members too."""
    best, best_score = tidy(start), score(tidy(start))
    for _ in range(grid.rounds):
        before = best_score
        for line in _lines(weights):
            for other in line(best, grid):
                found = score(other)
                if found > best_score + LEAST_GAIN:
                    best, best_score = other, found
        if best_score <= before + LEAST_GAIN:
            break
    return best


def fit(score: Objective, start: Mix, grid: Grid, among: Sequence[int] | None = None) -> Mix:
    """Weights and settings: greedy selection under the settings of `start`, then line searches from the better.

    among: the members that may have a weight; None is all.
    """
    among = range(len(start.weights)) if among is None else among
    start = tidy(replace(start, weights=tuple(w if m in among else 0.0 for m, w in enumerate(start.weights))))
    if len(among) == 1:
        return climb(score, start, grid)
    chosen = greedy(score, start, grid.steps, among)
    if score(chosen) <= score(start) + LEAST_GAIN:
        chosen = start
    return climb(score, chosen, grid, weights=among)


Line = Callable[[Mix, Grid], Iterable[Mix]]


def _lines(weights: Sequence[int]) -> Iterator[Line]:
    """Each thing that may be changed; the fusion last, so that none is judged by settings that do not suit it."""
    yield from (_weight_line(m) for m in weights)
    yield _known_line
    yield from (_setting_line(key) for key in ("k1", "k2", "power", "lam"))
    yield _fusion_line


def _weight_line(m: int) -> Line:
    def others(mix: Mix, grid: Grid) -> Iterator[Mix]:
        mean = sum(mix.weights) / len(mix.weights)
        for factor in FACTORS:
            value = factor * (mix.weights[m] or mean)
            changed = tuple(value if i == m else w for i, w in enumerate(mix.weights))
            if any(changed):
                yield tidy(replace(mix, weights=changed))

    return others


def _setting_line(key: str) -> Line:
    def line(mix: Mix, grid: Grid) -> Iterator[Mix]:
        if mix.rerank != "none":
            yield from (
                tidy(replace(mix, **{key: value})) for value in getattr(grid, key) if value != getattr(mix, key)
            )

    return line


def _known_line(mix: Mix, grid: Grid) -> Iterator[Mix]:
    if mix.rerank != "none":
        yield from (tidy(replace(mix, k1=k1, k2=k2, lam=lam)) for k1, k2, lam in grid.known)


def _fusion_line(mix: Mix, grid: Grid) -> Iterator[Mix]:
    """The other fusion; and no re-ranking at all, or the usual where there was none."""
    if mix.rerank == "none":
        yield from (tidy(Mix(mix.weights, fusion=fusion)) for fusion in grid.fusion)
        return
    yield from (tidy(replace(mix, fusion=fusion)) for fusion in grid.fusion if fusion != mix.fusion)
    yield Mix(mix.weights, rerank="none")
