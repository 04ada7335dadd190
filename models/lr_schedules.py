"""Learning rate schedules: pure functions of the time in epochs. A resumed run needs no scheduler state.

A schedule is called with t in (0, epochs], the time at the end of a step. It returns the factor on the base rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Schedule = Callable[[float], float]
Then = Callable[[float], Schedule]  # remaining epochs -> the schedule after a warm-up


def steps(
    *,
    epochs: int,
    warmup: float = 10,
    warmup_factor: float = 0.1,
    milestones: Sequence[float] = (40, 70),
    gamma: float = 0.1,
    of: float = 120,
) -> Schedule:
    """Luo et al. 2019, eq. 1: `lr * warmup_factor * t / warmup` to epoch 10, then lr to 40, lr / 10 to 70, lr / 100.

    With lr = 3.5e-4 that is 3.5e-5 t / 10, 3.5e-4, 3.5e-5, 3.5e-6.
    Their published code warms up to lr itself: `warmup_factor: 1`.

    Args:
        epochs: of this run.
        warmup, milestones: in epochs of a run of `of` epochs, scaled to this run's length.

    Returns:
        t in (0, epochs] -> the factor on the base rate.
    """
    if list(milestones) != sorted(milestones) or warmup < 0 or of <= 0:
        raise ValueError(
            f"warmup {warmup}, milestones {list(milestones)}, of {of}: must be 0 or more, ascending, above 0"
        )

    def factor(t: float) -> float:
        t = t * of / epochs
        if t <= warmup:
            return warmup_factor * t / warmup
        return gamma ** sum(t > m for m in milestones)

    return factor


def constant() -> Schedule:
    """The base rate throughout."""
    return lambda t: 1.0


def cosine(*, epochs: float, lowest: float = 0.0) -> Schedule:
    """`lowest + (1 - lowest) (1 + cos(pi t / epochs)) / 2` (Loshchilov and Hutter 2017, eq. 5), without restarts.

    Args:
        epochs: of this run, less the warm-up.
        lowest: the factor at the end.
    """
    if not 0 <= lowest <= 1:
        raise ValueError(f"lowest {lowest!r}; must be from 0 to 1")
    return lambda t: lowest + (1 - lowest) * (1 + math.cos(math.pi * min(t / epochs, 1))) / 2


def constant_warmup(*, epochs: float, then: Then, warmup: float = 10, factor: float = 0.1, of: float = 120) -> Schedule:
    """`factor` during the warm-up, then the schedule `then`, which starts at the end of the warm-up.

    Args:
        epochs: of this run.
        then: the schedule after the warm-up, by default the base rate.
        warmup: in epochs of a run of `of` epochs, scaled to this run's length.
        factor: on the base rate, above 0 and at most 1.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"factor {factor!r}; must be above 0 and at most 1")
    over, following = _warm(epochs, warmup, of, then)
    return lambda t: factor if t <= over else following(t - over)


@dataclass(frozen=True)
class ErrorWarmup:
    """`factor` until the training error is below `error`, then `following` at the run's own time.

    A call ignores the error and returns `following`: `models/training/error_warmup.py` tracks the error.
    """

    factor: float
    error: float
    following: Schedule

    def __call__(self, t: float) -> float:
        return self.following(t)


def error_warmup(*, epochs: float, then: Then, factor: float = 0.1, error: float = 0.8) -> ErrorWarmup:
    """A constant rate until the training error is below a bound, then the schedule `then` at the run's own time.

    In the source design the error was below 80 % after some 400 steps.

    Args:
        epochs: of this run.
        then: the schedule after the warm-up, by default the base rate.
        factor: on the base rate, above 0 and at most 1.
        error: a share of the images, above 0 and below 1.
    """
    if not 0 < factor <= 1:
        raise ValueError(f"factor {factor!r}; must be above 0 and at most 1")
    if not 0 < error < 1:
        raise ValueError(f"error {error!r}; must be a share of the images, above 0 and below 1")
    return ErrorWarmup(factor, error, then(epochs))


def gradual_warmup(
    *, epochs: float, then: Then, warmup: float = 10, multiplier: float = 1.0, of: float = 120
) -> Schedule:
    """Linear up to `multiplier` times the base rate, then `multiplier` times the schedule `then`.

    Goyal et al. 2017, section 2.2, in the form of the widespread GradualWarmupScheduler.
    The line starts at the base rate, or at 0 if the multiplier is exactly 1.

    Args:
        epochs: of this run.
        then: the schedule after the warm-up, by default the base rate. It starts at the end of the warm-up.
        warmup: in epochs of a run of `of` epochs, scaled to this run's length.
        multiplier: reached at the end of the warm-up, at least 1.
    """
    if multiplier < 1:
        raise ValueError(f"multiplier {multiplier!r}; must be 1 or more")
    over, following = _warm(epochs, warmup, of, then)
    first = 0.0 if multiplier == 1 else 1.0

    def factor(t: float) -> float:
        return first + (multiplier - first) * t / over if t <= over else multiplier * following(t - over)

    return factor


def _warm(epochs: float, warmup: float, of: float, then: Then) -> tuple[float, Schedule]:
    """The end of the warm-up in epochs, and the schedule after it."""
    if of <= 0 or not 0 <= warmup < of:
        raise ValueError(f"warmup {warmup} of {of}; must be 0 or more, and shorter than the run")
    over = warmup * epochs / of
    return over, then(epochs - over)
