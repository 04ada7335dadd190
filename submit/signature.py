"""Compare score signatures: two scores are comparable only if their rules and data are the same.

A signature is `key=value|key=value...`, as in sacreBLEU (Post, WMT 2018).
It names the rules: AP, K, junk, scored and skipped queries, weights of the total, data.
It also names what was scored: distance, re-ranking, members, code version.
"""

from __future__ import annotations

from ensemble.metrics.competition_score import parse

RULES = (
    "ap",
    "k",
    "junk",
    "scored",
    "skipped",
    "itself",
    "weights",
    "data",
)  # these must be equal; the others say what was scored


def differences(one: str, other: str) -> list[str]:
    """The rules that differ between two signatures, one text each; empty if the scores are comparable."""
    a, b = parse(one), parse(other)
    return [
        f"{key} is {a.get(key, 'missing')} in one and {b.get(key, 'missing')} in the other"
        for key in RULES
        if a.get(key) != b.get(key)
    ]
