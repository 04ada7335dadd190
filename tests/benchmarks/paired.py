"""The ablation's table: every part against the baseline of the same seed, and which differences are beyond chance."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]  # a run each: part, seed, rank1, map, total, images
RARE = 2.66  # standard errors: one mean in a hundred is farther from 0 by chance (Student's t, some 60 degrees)
BASELINE, OTHERS = "baseline", ("baseline", "untrained")  # the others are of another kind: not part of the scatter


def table(rows: Rows, asked: int) -> str:
    """Per cent: the mean over the seeds and, behind it, half their range.

    "Over the baseline" is the mean of the differences of the total seed by seed, so that what a seed does to both (the
    same pictures in the same order) is not taken for the part's. It is marked with * where the differences of all
    seeds agree in sign and the mean is RARE standard errors from 0 or more, by the scatter pooled over all parts.

    Args:
        rows: of one data set. asked: the seeds that there were to be.
    """
    base = {row["seed"]: row["total"] for row in rows if row["part"] == BASELINE}
    gains = {part: _gains(_of(rows, part), base) for part in dict.fromkeys(row["part"] for row in rows)}
    scatter = pooled_scatter([values for part, values in gains.items() if part not in OTHERS])
    lines = ["| part | rank-1 | mAP | total | over the baseline | images | seeds |", "|---|---|---|---|---|---|---|"]
    for part, values in gains.items():
        of = _of(rows, part)
        cells = [spread([row[name] for row in of]) for name in ("rank1", "map", "total")]
        if part == BASELINE:
            cells.append("")
        else:
            cells.append((spread(values, "+") if values else "?") + (" *" if beyond(values, scatter) else ""))
        seeds = f"{len(of)}" if len(of) == asked else f"{len(of)} of {asked}"
        lines.append(f"| {part} | {' | '.join(cells)} | {np.mean([row['images'] for row in of]):,.0f} | {seeds} |")
    return "\n".join([*lines, "", rule(scatter, {len(values) for values in gains.values()})])


def beyond(gains: Sequence[float], scatter: float) -> bool:
    """Whether differences are more than chance by the rule of `table`; one seed never is."""
    mean = np.mean(gains) if gains else 0.0
    return len(gains) > 1 and all(gain * mean > 0 for gain in gains) and abs(mean) >= limit(scatter, len(gains))


def limit(scatter: float, seeds: int) -> float:
    """From where on a mean of so many seeds is beyond chance."""
    return RARE * scatter / math.sqrt(seeds)


def pooled_scatter(parts: Sequence[Sequence[float]]) -> float:
    """The standard deviation of a part's difference between seeds, from all parts together; NaN of one seed each."""
    squares = sum(float(np.var(gains)) * len(gains) for gains in parts if gains)
    free = sum(len(gains) - 1 for gains in parts if gains)
    return math.sqrt(squares / free) if free else math.nan


def rule(scatter: float, seeds: Collection[int]) -> str:
    """The line under the table that says what * means there."""
    if math.isnan(scatter):
        return "One seed: no scatter is known, and no difference is marked."
    limits = [f"{100 * limit(scatter, n):.1f} ({n} seeds)" for n in sorted(seeds, reverse=True) if n > 1]
    return (
        f"*: all seeds agree in sign, and the mean is {', '.join(limits)} or more from 0. A difference scatters "
        f"by {100 * scatter:.1f} from seed to seed (pooled over the parts); one mean in a hundred is so far by chance."
    )


def spread(values: Sequence[float], sign: str = "") -> str:
    """`52.1 ± 1.9`: the mean, and half of the range; of one seed the value alone."""
    mean = f"{100 * np.mean(values):{sign}.1f}"
    return mean if len(values) == 1 else f"{mean} ± {50 * (max(values) - min(values)):.1f}"


def _of(rows: Rows, part: str) -> Rows:
    return [row for row in rows if row["part"] == part]


def _gains(rows: Rows, base: Mapping[int, float]) -> list[float]:
    """The differences of total, for the seeds that have a baseline."""
    return [row["total"] - base[row["seed"]] for row in rows if row["seed"] in base]
