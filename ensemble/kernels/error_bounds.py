"""Error bounds of similarities from float32 or half-precision products."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

UNIT_ROUNDOFF = 2.0**-24


class Measures(Protocol):
    """The inputs of a bound: sum of the weights, D of each member, amount of each penalty."""

    @property
    def total(self) -> float: ...

    @property
    def widths(self) -> list[int]: ...

    @property
    def amounts(self) -> Sequence[float]: ...


def product_bound(source: Measures, lost: float, roundoff: float, deviation: float) -> float:
    """Bound on the error of a product. lost: |x - x'| of a rounded row x'. roundoff: unit roundoff of the sums."""
    length, penalties = np.sqrt(source.total) * (1 + deviation), sum(source.amounts)
    operations = sum(source.widths) + 8 * len(source.widths) + 2 * len(source.amounts) + 4
    sums = operations * roundoff * ((length + lost) ** 2 + penalties)
    rounded = UNIT_ROUNDOFF * (2 * source.total + penalties)
    return float(lost * (2 * length + lost) + sums + source.total * deviation * (2 + deviation) + rounded)
