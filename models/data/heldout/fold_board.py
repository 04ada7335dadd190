"""Query and gallery lists of labelled images that nobody was trained on, shaped like the lists of a test.

Identities are drawn with a seed. What is copied, as far as the images allow:

- images and queries per query identity: both sides are sorted by images, and the i-th of n identities copies the test
  identity at the same quantile. Images above its number are left out;
- cameras: if the test has them, each query has a correct match from another camera;
- share of distractors: whole identities without a query, those that no query could find first. At least half of the
  identities that can ask do ask.

A test without labels tells only its cameras: then all images are kept, with the queries of `hold_out`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.data.heldout.board_split import fewer_images
from models.data.heldout.holdout import can_be_found, choose_queries
from models.data.split import UNKNOWN

Rows = NDArray[np.intp]
LEAST_ASKING = 0.5


@dataclass(frozen=True)
class BoardShape:
    """What is copied of a test.

    Attributes:
        persons: images and queries of each query identity, by images; empty without labels.
        distractors: share of the gallery that shows no query identity.
        cameras: whether both lists know any.
    """

    persons: tuple[tuple[int, int], ...]
    distractors: float
    cameras: bool


def shape_of_lists(
    query_pids: ArrayLike, query_camids: ArrayLike, gallery_pids: ArrayLike, gallery_camids: ArrayLike
) -> BoardShape:
    """The shape of a test's lists. No pids: the labels are unknown."""
    asked, there = np.asarray(query_pids, np.int64), np.asarray(gallery_pids, np.int64)
    cameras = all((np.asarray(camids) != UNKNOWN).any() for camids in (query_camids, gallery_camids))
    persons = np.unique(asked[asked != UNKNOWN])
    found = [(int((asked == p).sum() + (there == p).sum()), int((asked == p).sum())) for p in persons]
    strangers = float((~np.isin(there, persons)).mean()) if found else 0.0
    return BoardShape(tuple(sorted(found)), strangers, cameras)


def draw_board(
    pids: NDArray[np.int64], camids: NDArray[np.int64], shape: BoardShape, seed: Sequence[int]
) -> tuple[Rows, Rows]:
    """The rows of the queries and of the gallery, ascending. No image is in both.

    Args:
        pids, camids: (N,) of the images.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    camids = camids if shape.cameras else np.full(len(pids), UNKNOWN)
    rows_of = {int(pid): np.flatnonzero(pids == pid) for pid in np.unique(pids) if pid != UNKNOWN}
    able = [pid for pid, rows in rows_of.items() if can_be_found(camids[rows])]
    asking = rng.permutation(np.array(able, np.int64)).tolist()
    strangers = [row for pid, rows in rows_of.items() if pid not in able for row in rows.tolist()]
    least = max(1, LEAST_ASKING * len(able))
    while len(strangers) < _wanted(asking, rows_of, shape) and len(asking) - 1 >= least:
        strangers += rows_of[asking.pop()].tolist()
    query: list[int] = []
    gallery = strangers[: _wanted(asking, rows_of, shape)]
    for pid, images, queries in _copied(asking, rows_of, shape):
        rows = fewer_images(rows_of[pid], camids, images, rng)
        chosen = choose_queries(rows, camids, rng, queries)
        query += chosen
        gallery += [int(row) for row in rows if row not in chosen]
    return np.sort(np.array(query, np.intp)), np.sort(np.array(gallery, np.intp))


def _copied(
    asking: Sequence[int], rows_of: dict[int, Rows], shape: BoardShape
) -> list[tuple[int, int | None, int | None]]:
    """(identity, most images, queries) of each identity that asks; None is no limit."""
    by_size = sorted(asking, key=lambda pid: len(rows_of[pid]))
    if not shape.persons:
        return [(pid, None, None) for pid in by_size]
    n, there = len(by_size), len(shape.persons)
    like = [shape.persons[int((i + 0.5) * there / n)] for i in range(n)]
    return [(pid, max(2, images), queries) for pid, (images, queries) in zip(by_size, like, strict=True)]


def _wanted(asking: Sequence[int], rows_of: dict[int, Rows], shape: BoardShape) -> int:
    """Distractors beside the correct matches of these identities."""
    right = 0
    for pid, images, queries in _copied(asking, rows_of, shape):
        count = len(rows_of[pid]) if images is None else min(images, len(rows_of[pid]))
        right += count - min(queries or 1, count - 1)
    return round(right * shape.distractors / (1 - shape.distractors)) if shape.distractors < 1 else 0
