"""One thing that is wrong or odd about a data set, and what it does to a build or a score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STOPS, HURTS, NOTE = "stops", "hurts", "note"
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """weight: `stops` a build, `hurts` its score or makes it untrue, or `note`. does: what it would do."""

    weight: str
    text: str
    does: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = f" ({', '.join(self.examples)})" if self.examples else ""
        return f"{self.weight}: {self.text}{shown}: {self.does}"


def count(n: int, one: str, many: str = "") -> str:
    """`1 name`, `2,000 names`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def shown(examples: Iterable[object]) -> tuple[str, ...]:
    """The first few."""
    return tuple(str(example) for example, _ in zip(examples, range(EXAMPLES), strict=False))
