"""Score signatures: two scores compare only where their signatures do.

A signature is `key=value|key=value...`, as sacreBLEU has them (Post, WMT 2018): the AP rule, K, the junk rule, queries
scored and skipped, the weights of the total, the data; and what was scored: the distance, the re-ranking, the members,
the version of the code.
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
)  # must agree; the others say what was scored


def differences(one: str, other: str) -> list[str]:
    """Each rule by which two scores were not measured alike, as a half-sentence; nothing where they compare."""
    a, b = parse(one), parse(other)
    return [
        f"{key} is {a.get(key, 'not said')} in one and {b.get(key, 'not said')} in the other"
        for key in RULES
        if a.get(key) != b.get(key)
    ]
