"""Hold out training identities to score on, for a test set without labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from models.data.split import UNKNOWN, Split


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split, Split]:
    """Split identities, never images. Held-out identities are not trained on.

    One image per camera of each held-out identity is a query, as in Market-1501. The others are the gallery.
    Every query has a gallery image of its identity from another camera.
    Without cameras one image in four is a query, at least one.

    Args:
        share: of the identities with at least two images, not all from one camera; above 0 and below 1.
        seed: of the choice.

    Returns:
        train, query, gallery.

    Raises:
        ConfigError: the share is out of bounds.
        DataError: too few identities.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--holdout {share:g}: must be a share of the identities above 0 and below 1, such as 0.2")
    rng = np.random.default_rng([seed, 0, 2])
    rows_of = {int(pid): np.flatnonzero(train.pids == pid) for pid in np.unique(train.pids) if pid != UNKNOWN}
    able = [pid for pid, rows in rows_of.items() if can_be_found(train.camids[rows])]
    kept = np.sort(rng.permutation(np.array(able, dtype=np.int64))[: round(share * len(able))])
    if len(kept) < 2 or len(able) - len(kept) < 2:
        raise DataError(
            f"--holdout {share:g} of {len(able)} identities with at least two images (not all from one camera) is "
            f"{len(kept)}; at least 2 identities are needed on both sides"
        )
    query = [row for pid in kept for row in choose_queries(rows_of[int(pid)], train.camids, rng)]
    aside = np.flatnonzero(np.isin(train.pids, kept))
    return (
        train.take(np.flatnonzero(~np.isin(train.pids, kept))),
        train.take(sorted(query)),
        train.take(np.setdiff1d(aside, query)),
    )


def can_be_found(cams: NDArray[np.int64]) -> bool:
    """Whether one image can be a query for another: there are two, and not all are from one known camera."""
    return len(cams) >= 2 and (len(set(cams)) >= 2 or cams[0] == UNKNOWN)


def _finds(cam: int, left: list[int]) -> bool:
    """Whether one of the cameras differs from this one. An unknown camera differs from all."""
    return any(other != cam or other == UNKNOWN for other in left)


def choose_queries(
    rows: NDArray[np.intp], camids: NDArray[np.int64], rng: np.random.Generator, wanted: int | None = None
) -> list[int]:
    """The query rows of one identity. Each has a correct match from another camera in the other rows.

    wanted: the number of queries, if possible. None is one per camera, or one in four without cameras.
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
