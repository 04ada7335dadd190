"""Checks of the methods' options."""

from __future__ import annotations


def check_threshold(threshold: float) -> None:
    """A threshold of distances.

    Raises:
        ValueError: it is not 0 to below 1.
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold:g}: want 0 to below 1; pairs outside the graph are at distance 1")
