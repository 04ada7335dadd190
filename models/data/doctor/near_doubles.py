"""Findings: near-duplicates in train and in the test, or under different identities."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from models.data.doctor.finding import HURTS, Finding, count, shown
from models.data.doctor.inspect_files import InspectedFile
from models.data.near_duplicates import FLAT, near_pairs
from models.data.split import UNKNOWN, Split

TEST = ("query", "gallery")


def find_near_doubles(
    parts: Mapping[str, tuple[Split, Sequence[InspectedFile]]], labels: Mapping[int, str]
) -> list[Finding]:
    """Pairs of files that differ by compression, size or brightness alone. Equal files are another finding.

    Args:
        parts: list -> the list, and its files in the same order. labels: names of identities.
    """
    every = [
        (part, name, pid, seen)
        for part, (split, files) in parts.items()
        for name, pid, seen in zip(split.names, split.pids.tolist(), files, strict=True)
        if seen.hash != FLAT
    ]
    hashes = np.array([seen.hash for *_, seen in every], np.uint64)
    kinds: dict[str, list[str]] = defaultdict(list)
    for i, j in near_pairs(hashes, np.array([pid for _, _, pid, _ in every], np.int64)).tolist():
        (part, name, pid, seen), (other, other_name, other_pid, other_seen) = every[i], every[j]
        if seen.digest == other_seen.digest:
            continue
        sides = {part == "train", other == "train"}
        pair = " ~ ".join(
            f"{where}/{what}" + (f" (id {labels.get(who, who)})" if who != UNKNOWN else "")
            for where, what, who in ((part, name, pid), (other, other_name, other_pid))
        )
        if len(sides) == 2 and {part, other} & {*TEST}:
            kinds["leak"].append(pair)
        elif UNKNOWN not in (pid, other_pid):
            kinds["labels"].append(pair)
    told = {
        "leak": ("in train and in the test", "look at them: the score is too good if the test was trained on"),
        "labels": ("under different identities", "look at them: one of the labels may be wrong"),
    }
    return [
        Finding(
            HURTS,
            f"{count(len(kinds[kind]), 'pair looks', 'pairs look')} like near-duplicates {text}",
            does,
            shown(kinds[kind]),
        )
        for kind, (text, does) in told.items()
        if kinds[kind]
    ]
