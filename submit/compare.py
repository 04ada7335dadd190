"""A build's scores beside those of an earlier submission: a difference is given where they were measured alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import ResultError
from submit.build_scores import Row
from submit.signature import differences

SCORE = "score.json"


def load_scores(folder: Path) -> dict[str, list[Row]]:
    """The scores that `submit.make` wrote into a folder.

    Raises:
        ResultError: there are none, or they cannot be read.
    """
    path = folder / SCORE if folder.is_dir() else folder
    try:
        raw: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {name: [Row(**row | {"cmc": tuple(row["cmc"])}) for row in rows] for name, rows in raw.items()}
    except OSError as e:
        raise ResultError(f"{path}: cannot be read ({e.strerror}); give a folder that submit.make wrote") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ResultError(f"{path}: not the scores of a submission ({e}); give a folder that submit.make wrote") from e


def compare(ours: Mapping[str, Sequence[Row]], theirs: Mapping[str, Sequence[Row]], against: str) -> list[str]:
    """A line an evaluation: what the last row gained on the other's last row, or why that cannot be said."""
    lines = []
    for name, rows in ours.items():
        others = theirs.get(name, ())
        if not rows or not others:
            lines.append(f"{name}: nothing to compare with {against}")
            continue
        unlike = differences(others[-1].signature, rows[-1].signature)
        if unlike:
            lines.append(f"{name}: not comparable with {against}: {'; '.join(unlike)}")
            continue
        gains = [
            f"{word} {100 * (getattr(rows[-1], field) - getattr(others[-1], field)):+.1f}"
            for word, field in (("total", "total"), ("rank-1", "rank1"), ("mAP", "map"))
        ]
        lines.append(f"{name}: {rows[-1].name} against {others[-1].name} of {against}: {', '.join(gains)}")
    return lines
