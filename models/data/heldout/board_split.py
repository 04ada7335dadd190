"""A held-out split that resembles a competition's test lists: images per identity, ratio, distractors.

Identities are split, never images.
Held-out identities are queries or distractors in the gallery. None of their images is trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from models.data.heldout.holdout import can_be_found, choose_queries
from models.data.split import UNKNOWN, Benchmark, Split

LEAST_PERSONS = 2
LEAST_TRAINED = 0.5  # share of all identities that distractors must leave for training
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Shape:
    """The shape of test lists. None is no constraint.

    Attributes:
        share: of the identities that can be queries.
        images: fewest and most images per query identity.
        queries: per identity, as long as each has a correct match. None is the rule of `hold_out`.
        ratio: queries / gallery images.
        distractors: share of the gallery that shows no query identity.
        cameras: whether a correct match must be from another camera.
    """

    share: float = 0.2
    images: tuple[int, int | None] = (2, None)
    queries: int | None = None
    ratio: float | None = None
    distractors: float | None = None
    cameras: bool = False


@dataclass(frozen=True)
class Board:
    """Three lists without common images. No identity of `train` is in the others."""

    train: Split
    query: Split
    gallery: Split


def shape_of(benchmark: Benchmark, share: float = 0.2) -> Shape:
    """The shape of a data set's own test lists. Without labels: ratio and cameras only."""
    train = benchmark.train
    query = benchmark.query
    gallery = benchmark.gallery
    parts = [part for part in (train, query, gallery) if len(part)]
    cameras = all(part.cameras for part in parts) and len({*train.camids.tolist()} - {UNKNOWN}) > 1
    if not len(query) or not len(gallery):
        return Shape(share, cameras=cameras)
    ratio = len(query) / len(gallery)
    if not benchmark.scorable:
        return Shape(share, ratio=ratio, cameras=cameras)
    asked = np.unique(query.pids[query.pids != UNKNOWN])
    right = np.isin(gallery.pids, asked)
    sizes = [int((query.pids == p).sum() + (gallery.pids == p).sum()) for p in asked]
    most = max(2, int(np.quantile(sizes, 0.95)))
    queries = max(1, round(len(query) / len(asked)))
    return Shape(share, (2, most), queries, ratio, float(1 - right.mean()), cameras)


def make_board(train: Split, shape: Shape, seed: int) -> Board:
    """Hold out identities, and make query and gallery lists of this shape from them.

    Distractors are whole identities, drawn until their share is reached, or the ratio if there is no share.
    They leave half of all identities for training.
    Images of an identity above the largest number are dropped.

    Raises:
        DataError: too few identities for queries or for training.
    """
    rng = np.random.default_rng([seed, 0, 6])
    camids = train.camids if shape.cameras else np.full(len(train), UNKNOWN)
    rows_of = {int(pid): np.flatnonzero(train.pids == pid) for pid in np.unique(train.pids) if pid != UNKNOWN}
    low = max(2, shape.images[0])
    able = [pid for pid, rows in rows_of.items() if len(rows) >= low and can_be_found(camids[rows])]
    asked = rng.permutation(np.array(able, dtype=np.int64))[: round(shape.share * len(able))]
    if len(asked) < LEAST_PERSONS or len(rows_of) - len(asked) < LEAST_PERSONS:
        other = " by two cameras" if shape.cameras else ""
        raise DataError(
            f"a share of {shape.share:g} of {len(able)} identities with at least {low} images{other} is {len(asked)}, "
            f"and leaves {len(rows_of) - len(asked)} for training; at least {LEAST_PERSONS} are needed on both sides"
        )
    query: list[int] = []
    right: list[int] = []
    for pid in np.sort(asked):
        rows = fewer_images(rows_of[int(pid)], camids, shape.images[1], rng)
        asking = choose_queries(rows, camids, rng, shape.queries)
        query += asking
        right += [int(r) for r in rows if r not in asking]
    strangers = _strangers(rows_of, set(asked.tolist()), len(query), len(right), shape, rng)
    aside = np.isin(train.pids, [*asked, *train.pids[strangers]])
    without = train if shape.cameras else replace(train, camids=np.full(len(train), UNKNOWN))
    gallery = without.take(sorted([*right, *strangers]))
    return Board(without.take(np.flatnonzero(~aside)), without.take(sorted(query)), gallery)


def fewer_images(rows: Rows, camids: NDArray[np.int64], most: int | None, rng: np.random.Generator) -> Rows:
    """At most `most` images of an identity, from two cameras if cameras are known."""
    if most is None or len(rows) <= most:
        return rows
    drawn = rng.permutation(rows)
    kept = drawn[:most]
    if not can_be_found(camids[kept]):
        other = drawn[camids[drawn] != camids[kept[0]]][:1]
        kept = np.concatenate([kept[: most - 1], other])
    return np.sort(kept)


def _strangers(
    rows_of: dict[int, Rows], asked: set[int], queries: int, right: int, shape: Shape, rng: np.random.Generator
) -> list[int]:
    """Rows of distractors: as many as their share needs, or else the ratio."""
    if shape.distractors is not None:
        wanted = round(right * shape.distractors / max(1e-9, 1 - shape.distractors))
    elif shape.ratio is not None:
        wanted = round(queries / shape.ratio) - right
    else:
        wanted = 0
    out: list[int] = []
    others = [pid for pid in rows_of if pid not in asked]
    for at, pid in enumerate(rng.permutation(np.array(others, dtype=np.int64))):
        if len(out) >= wanted or len(others) - at <= max(LEAST_PERSONS, LEAST_TRAINED * len(rows_of)):
            break
        out += [int(r) for r in rows_of[int(pid)][: wanted - len(out)]]
    return out
