"""Scores of pseudo labels against known identities."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Round:
    """One round's report. purity, precision and recall use images of known identity only; NaN without any.

    Attributes:
        images: N.
        groups: number of groups.
        labelled: images with a group.
        purity: share of labelled images with their group's most frequent identity.
        precision: share of pairs in one group that have one identity.
        recall: share of pairs of one identity that are in one group.
    """

    images: int
    groups: int
    labelled: int
    purity: float = math.nan
    precision: float = math.nan
    recall: float = math.nan


def score_round(labels: NDArray[np.int64], pids: NDArray[np.int64] | None = None) -> Round:
    """Score labels (N,), -1 for none, against identities (N,), -1 for unknown.

    Raises:
        ValueError: different lengths.
    """
    labels = np.asarray(labels)
    if pids is not None and np.shape(pids) != labels.shape:
        raise ValueError(f"labels of shape {labels.shape}, pids of shape {np.shape(pids)}: want one per label")
    counted = len(labels), len(np.unique(labels[labels >= 0])), int((labels >= 0).sum())
    known = np.zeros(len(labels), bool) if pids is None else np.asarray(pids) >= 0
    if pids is None or not known.any():
        return Round(*counted)
    labels, pids = labels[known], np.asarray(pids)[known]
    grouped = labels >= 0
    both, sizes = np.unique(np.stack((labels, pids))[:, grouped], axis=1, return_counts=True)
    groups, start = np.unique(both[0], return_index=True)
    most = np.maximum.reduceat(sizes, start) if len(groups) else np.zeros(0, int)
    right = _pairs(sizes)
    grouped_pairs = _pairs(_counts(labels[grouped]))
    true_pairs = _pairs(_counts(pids))
    return Round(
        *counted,
        purity=_share(int(most.sum()), int(grouped.sum())),
        precision=_share(right, grouped_pairs),
        recall=_share(right, true_pairs),
    )


def describe_round(scored: Round) -> str:
    """The report as one line of text."""
    text = f"{scored.groups:,} groups, {scored.labelled:,} of {scored.images:,} images labelled"
    if math.isnan(scored.purity):
        return f"{text}; no identities to score with"
    return f"{text}; purity {scored.purity:.3f}, pair precision {scored.precision:.3f}, recall {scored.recall:.3f}"


def as_csv(names: Sequence[str], labels: NDArray[np.int64]) -> str:
    """CSV with the columns name and label."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "label"))
    writer.writerows(zip(names, labels.tolist(), strict=True))
    return text.getvalue()


def read_csv(text: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names and labels (N,) from `as_csv`."""
    rows = list(csv.DictReader(StringIO(text)))
    return tuple(row["name"] for row in rows), np.array([int(row["label"]) for row in rows], dtype=np.int64)


def as_json(method: str, scored: Round) -> str:
    """The report as JSON; null for scores without identities."""
    numbers = {k: None if math.isnan(v) else v for k, v in asdict(scored).items()}
    return json.dumps({"method": method, **numbers}, indent=1) + "\n"


def _counts(values: NDArray) -> NDArray[np.int64]:
    return np.unique(values, return_counts=True)[1]


def _pairs(sizes: NDArray[np.int64]) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
