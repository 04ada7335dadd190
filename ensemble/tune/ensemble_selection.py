"""Search for fusion settings: greedy selection of members with replacement, then line searches.

Greedy selection is from Caruana, Niculescu-Mizil, Crew & Ksikes (Ensemble Selection from Libraries of Models, ICML
2004). Each step adds the member that gives the best score. The best selection of all steps is returned. A member's
weight is the number of times it was added. The line searches then change one setting at a time: a weight, an option
of the re-ranker, the fusion, the re-ranker. They end when no change improves the score.

The objective is a function of the settings. This module knows nothing of the data behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from configs.schema import FUSIONS, SUM_FIRST
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import RERANKERS, name_of

Objective = Callable[[FusionSettings], float]
LEAST_GAIN = 1e-9  # smaller gains are rounding errors
FACTORS = (0.0, 0.5, 0.75, 1.33, 2.0)


@dataclass(frozen=True)
class SearchSpace:
    """The values to try for each setting.

    Attributes:
        searched: re-ranker -> option -> values to try.
        known: re-ranker -> sets of options to try together.
        rounds: maximum number of rounds of line searches. steps: number of steps of greedy selection.
        whitened: shrinkages of whitening by query and gallery; None is no whitening.
    """

    searched: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(
        default_factory=lambda: {name: row.searched for name, row in RERANKERS.items()}
    )
    known: Mapping[str, tuple[Mapping[str, Any], ...]] = field(
        default_factory=lambda: {name: row.known for name, row in RERANKERS.items()}
    )
    fusion: tuple[str, ...] = FUSIONS
    rounds: int = 4
    steps: int = 10
    whitened: tuple[float | None, ...] = (None,)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def without(self, names: Iterable[str]) -> SearchSpace:
        """The same without these re-rankers."""
        gone = set(names)
        searched = {name: options for name, options in self.searched.items() if name not in gone}
        return replace(self, searched=searched, known={n: some for n, some in self.known.items() if n not in gone})

    def most_neighbours(self) -> int:
        """The largest number of neighbours per row that any setting reads."""
        tried = [
            RERANKERS[name](**{option: value})
            for name, options in self.searched.items()
            for option, values in options.items()
            for value in values
        ]
        tried += [RERANKERS[name](**options) for name, some in self.known.items() for options in some]
        return max((one.neighbours_read(sys.maxsize) for one in tried), default=0)


def normalised(mix: FusionSettings) -> FusionSettings:
    """The same settings in normal form: largest weight 1, four digits, settings without effect at their defaults."""
    largest = max(mix.weights)
    weights = tuple(round(w / largest, 4) for w in mix.weights)
    out = replace(mix, weights=weights)
    return out if out.each_first else replace(out, fusion=SUM_FIRST)


def greedy(score: Objective, start: FusionSettings, steps: int, among: Sequence[int]) -> FusionSettings:
    """Greedy selection with replacement, with the settings of `start` but not its weights.

    On equal scores, the first member and the smallest selection win. among: the members to choose from.
    """
    bag = [0] * len(start.weights)
    best, best_score = start, -float("inf")
    for _ in range(steps):
        grown = {
            m: normalised(replace(start, weights=tuple(float(n + (i == m)) for i, n in enumerate(bag)))) for m in among
        }
        found = {m: score(mix) for m, mix in grown.items()}
        m = max(among, key=lambda i: (found[i], -i))
        bag[m] += 1
        if found[m] > best_score + LEAST_GAIN:
            best, best_score = grown[m], found[m]
    return best


def hill_climb(
    score: Objective, start: FusionSettings, grid: SearchSpace, *, weights: Sequence[int] = ()
) -> FusionSettings:
    """Line searches over one setting at a time, until a round has no gain. weights: members with a variable weight."""
    best, best_score = normalised(start), score(normalised(start))
    for _ in range(grid.rounds):
        before = best_score
        for line in _lines(grid, weights):
            for other in line(best):
                found = score(other)
                if found > best_score + LEAST_GAIN:
                    best, best_score = other, found
        if best_score <= before + LEAST_GAIN:
            break
    return best


def select_and_climb(
    score: Objective, start: FusionSettings, grid: SearchSpace, among: Sequence[int] | None = None
) -> FusionSettings:
    """Tune weights and settings: greedy selection, then line searches from the better of `start` and the selection.

    among: members that may have a weight; None is all.
    """
    among = range(len(start.weights)) if among is None else among
    start = normalised(replace(start, weights=tuple(w if m in among else 0.0 for m, w in enumerate(start.weights))))
    if len(among) == 1:
        return hill_climb(score, start, grid)
    chosen = greedy(score, start, grid.steps, among)
    if score(chosen) <= score(start) + LEAST_GAIN:
        chosen = start
    return hill_climb(score, chosen, grid, weights=among)


Line = Callable[[FusionSettings], Iterable[FusionSettings]]


def _lines(grid: SearchSpace, weights: Sequence[int]) -> Iterator[Line]:
    """All line searches in order. Re-ranker, fusion and whitening come last, when the other settings are tuned."""
    yield from (_weight_line(m) for m in weights)
    yield partial(_known_line, grid)
    for option in dict.fromkeys(option for options in grid.searched.values() for option in options):
        yield partial(_option_line, grid, option)
    yield partial(_reranker_line, grid)
    yield partial(_whitened_line, grid)


def _weight_line(m: int) -> Line:
    def others(mix: FusionSettings) -> Iterator[FusionSettings]:
        mean = sum(mix.weights) / len(mix.weights)
        for factor in FACTORS:
            value = factor * (mix.weights[m] or mean)
            changed = tuple(value if i == m else w for i, w in enumerate(mix.weights))
            if any(changed):
                yield normalised(replace(mix, weights=changed))

    return others


def _option_line(grid: SearchSpace, option: str, mix: FusionSettings) -> Iterator[FusionSettings]:
    for value in grid.searched.get(name_of(mix.reranker), {}).get(option, ()):
        if value != mix.options[option]:
            yield _with_options(mix, {option: value})


def _known_line(grid: SearchSpace, mix: FusionSettings) -> Iterator[FusionSettings]:
    for options in grid.known.get(name_of(mix.reranker), ()):
        yield _with_options(mix, options)


def _reranker_line(grid: SearchSpace, mix: FusionSettings) -> Iterator[FusionSettings]:
    """The other fusion, then every other re-ranker with its default options and with each fusion."""
    rerankers = [mix.reranker, *(RERANKERS[name]() for name in grid.searched if name != name_of(mix.reranker))]
    found = [normalised(replace(mix, reranker=one, fusion=fusion)) for one in rerankers for fusion in grid.fusion]
    yield from (other for other in dict.fromkeys(found) if other != mix)


def _whitened_line(grid: SearchSpace, mix: FusionSettings) -> Iterator[FusionSettings]:
    """The other features, with the current settings and with the known ones."""
    for other in (replace(mix, whitened=white) for white in grid.whitened if white != mix.whitened):
        yield from (other, *_known_line(grid, other))


def _with_options(mix: FusionSettings, options: Mapping[str, Any]) -> FusionSettings:
    return normalised(replace(mix, reranker=type(mix.reranker)(**mix.options | dict(options))))
