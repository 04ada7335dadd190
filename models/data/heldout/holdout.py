"""Keep some training identities aside to score on, where the test set has no labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from models.data.split import UNKNOWN, Split


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split, Split]:
    """Split identities, never images: those kept aside are not trained on.

    Of each identity kept aside one image a camera is a query, as in Market-1501, as long as every query finds an image
    of another camera in the rest, which is the gallery. Where no camera is known, one image in four, at least one.

    Args:
        share: of the identities that can be kept, above 0 and below 1: two images or more, not all by one camera.
        seed: of the choice.

    Returns:
        train, query, gallery.

    Raises:
        ConfigError: the share is out of bounds. DataError: too few identities to keep any.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--holdout {share:g}: wanted a share of the identities above 0 and below 1, such as 0.2")
    rng = np.random.default_rng([seed, 0, 2])
    rows_of = {int(pid): np.flatnonzero(train.pids == pid) for pid in np.unique(train.pids) if pid != UNKNOWN}
    able = [pid for pid, rows in rows_of.items() if can_be_found(train.camids[rows])]
    kept = np.sort(rng.permutation(np.array(able, dtype=np.int64))[: round(share * len(able))])
    if len(kept) < 2 or len(able) - len(kept) < 2:
        raise DataError(
            f"--holdout {share:g} of {len(able)} identities with two images or more (not all by one camera) keeps "
            f"{len(kept)} aside; at least 2 are needed on either side"
        )
    query = [row for pid in kept for row in choose_queries(rows_of[int(pid)], train.camids, rng)]
    aside = np.flatnonzero(np.isin(train.pids, kept))
    return (
        train.take(np.flatnonzero(~np.isin(train.pids, kept))),
        train.take(sorted(query)),
        train.take(np.setdiff1d(aside, query)),
    )


def can_be_found(cams: NDArray[np.int64]) -> bool:
    """Whether one of the images can ask for another: not where all are of one known camera."""
    return len(cams) >= 2 and (len(set(cams)) >= 2 or cams[0] == UNKNOWN)


def _finds(cam: int, left: list[int]) -> bool:
    """Whether an image of this camera finds one among those of other cameras; an unknown one is shared by none."""
    return any(other != cam or other == UNKNOWN for other in left)


def choose_queries(
    rows: NDArray[np.intp], camids: NDArray[np.int64], rng: np.random.Generator, wanted: int | None = None
) -> list[int]:
    """The rows of one identity that ask; the others are there to be found, each query by another camera's.

    wanted: how many are to ask, where there are enough; None is one a camera, or one in four where they are unknown.
    """
    rows = rng.permutation(rows)
    if (camids[rows] == UNKNOWN).all():
        return [int(r) for r in rows[: min(len(rows) - 1, wanted or max(1, len(rows) // 4))]]
    known = np.unique(camids[rows][camids[rows] != UNKNOWN])
    first = {int(cam): int(rows[camids[rows] == cam][0]) for cam in known}
    more = [] if wanted is None else [int(r) for r in rows if int(r) not in first.values()]
    chosen: list[int] = []
    for row in [*first.values(), *more]:
        asking = [*chosen, row]
        left = [int(camids[r]) for r in rows if r not in asking]
        if len(chosen) < (wanted or len(rows)) and all(_finds(int(camids[r]), left) for r in asking):
            chosen = asking
    return chosen
