"""Score signatures: two scores compare only where their signatures do.

A signature is `key=value|key=value...`, as sacreBLEU has them (Post, WMT 2018): the AP rule, K, the junk rule, queries
scored and skipped, the weights of the total, the data; and what was scored: the distance, the re-ranking, the members,
the version of the code.
"""

from __future__ import annotations

RULES = ("ap", "k", "junk", "scored", "skipped", "weights", "data")  # must agree; the others say what was scored


def parse(signature: str) -> dict[str, str]:
    """The keys of a signature and their values."""
    return dict(part.partition("=")[::2] for part in signature.split("|") if part)


def differences(one: str, other: str) -> list[str]:
    """Each rule by which two scores were not measured alike, as a half-sentence; nothing where they compare."""
    a, b = parse(one), parse(other)
    return [
        f"{key} is {a.get(key, 'not said')} in one and {b.get(key, 'not said')} in the other"
        for key in RULES
        if a.get(key) != b.get(key)
    ]


def describe(signature: str) -> str:
    """The rules for a person: `AP 'hits' at 200, no junk, total = 0.5 rank-1 + 0.5 mAP`."""
    says = parse(signature)
    at = "" if says["ap"] == "market" else f" at {says['k']}"
    junk = {"same_pid_same_cam": "junk: same person, same camera", "none": "no junk"}.get(says["junk"], says["junk"])
    total = says["weights"].replace("*rank1+", " rank-1 + ").replace("*map", " mAP")
    skipped = "" if says["skipped"] == "0" else f", {int(says['skipped']):,} queries skipped"
    return f"AP '{says['ap']}'{at}, {junk}{skipped}, total = {total}"
