"""How far products in float32 or half precision are from the exact similarities at most."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

UNIT_ROUNDOFF = 2.0**-24


class Measures(Protocol):
    """What a bound is made of: the sum of the weights, each member's numbers a row, each penalty's amount."""

    @property
    def total(self) -> float: ...

    @property
    def widths(self) -> list[int]: ...

    @property
    def amounts(self) -> Sequence[float]: ...


def product_bound(source: Measures, lost: float, roundoff: float, deviation: float) -> float:
    """How far a product is from the exact similarity at most; lost: |x - x'| of a row; roundoff: of its sums."""
    length, penalties = np.sqrt(source.total) * (1 + deviation), sum(source.amounts)
    operations = sum(source.widths) + 8 * len(source.widths) + 2 * len(source.amounts) + 4
    sums = operations * roundoff * ((length + lost) ** 2 + penalties)
    rounded = UNIT_ROUNDOFF * (2 * source.total + penalties)
    return float(lost * (2 * length + lost) + sums + source.total * deviation * (2 + deviation) + rounded)
