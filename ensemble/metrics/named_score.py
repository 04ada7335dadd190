"""A score that is no ranked list's: its name, its interval over identities, and a signature of how it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ensemble.metrics.bootstrap import Interval


@dataclass(frozen=True)
class NamedScore:
    """One figure.

    Attributes:
        value: the figure and its bounds. NaN where nothing can be scored.
        signature: `score=ari|images=...`; only equal rules and data are comparable.
    """

    name: str
    value: Interval
    signature: str

    def __str__(self) -> str:
        v = self.value
        return f"{self.name} {100 * v.mean:.1f} ({100 * v.low:.1f} to {100 * v.high:.1f})"


def sign(name: str, said: Mapping[str, object]) -> str:
    """The signature of one figure."""
    return "|".join(f"{key}={value}" for key, value in ({"score": name} | dict(said)).items())
