"""The learning rate as a pure function of the time in epochs, so that a resumed run needs no scheduler state."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Schedule = Callable[[float], float]


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

    With lr = 3.5e-4 that is 3.5e-5 t / 10, 3.5e-4, 3.5e-5, 3.5e-6. Their published code warms up to lr itself:
    `warmup_factor: 1`.

    Args:
        epochs: of this run.
        warmup, milestones: in epochs of a run of `of` epochs; a longer or shorter run stretches them in proportion.

    Returns:
        t in (0, epochs] -> the factor on the base rate.
    """
    if list(milestones) != sorted(milestones) or warmup < 0 or of <= 0:
        raise ValueError(f"warmup {warmup}, milestones {list(milestones)}, of {of}: wanted 0 or more, ascending, above 0")

    def factor(t: float) -> float:
        t = t * of / epochs
        if t <= warmup:
            return warmup_factor * t / warmup
        return gamma ** sum(t > m for m in milestones)

    return factor
