"""Findings: faults and notes about a data set, with their effect on a build or a score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STOPS, HURTS, NOTE = "stops", "hurts", "note"
EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """A fault or a note.

    Attributes:
        weight: `stops` a build, `hurts` the score or makes it wrong, or `note`.
        text: what was found.
        does: the effect.
        examples: a few examples.
    """

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
    """The first EXAMPLES of them, as text."""
    return tuple(str(example) for example, _ in zip(examples, range(EXAMPLES), strict=False))
