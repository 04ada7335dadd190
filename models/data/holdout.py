"""Keep some training identities aside to score on, where the test set has no labels."""

from __future__ import annotations

import numpy as np

from configs.errors import ConfigError, DataError
from models.data.split import UNKNOWN, Split


def hold_out(train: Split, share: float, seed: int) -> tuple[Split, Split, Split]:
    """Split identities, never images: those kept aside are not trained on.

    Of each identity kept aside one image a camera is a query, as in Market-1501, as long as another camera shows it;
    where cameras are unknown, one image in four, at least one. The rest is the gallery.

    Args:
        share: of the identities with two images or more, above 0 and below 1.
        seed: of the choice.

    Returns:
        train, query, gallery.

    Raises:
        ConfigError: the share is out of bounds. DataError: too few identities to keep any.
    """
    if not 0 < share < 1:
        raise ConfigError(f"--holdout {share:g}: wanted a share of the identities above 0 and below 1, such as 0.2")
    rng = np.random.default_rng([seed, 2])
    pids, counts = np.unique(train.pids, return_counts=True)
    able = pids[(counts >= 2) & (pids != UNKNOWN)]
    kept = np.sort(rng.permutation(able)[: round(share * len(able))])
    if len(kept) < 2 or len(able) - len(kept) < 2:
        raise DataError(
            f"--holdout {share:g} of {len(able)} identities with two images or more keeps {len(kept)} aside; "
            "at least 2 are needed on either side"
        )
    query: list[int] = []
    for pid in kept:
        query += _queries(np.flatnonzero(train.pids == pid), train.camids, rng)
    aside = np.flatnonzero(np.isin(train.pids, kept))
    return (
        train.take(np.flatnonzero(~np.isin(train.pids, kept))),
        train.take(sorted(query)),
        train.take(np.setdiff1d(aside, query)),
    )


def _queries(rows: np.ndarray, camids: np.ndarray, rng: np.random.Generator) -> list[int]:
    """The rows of one identity that ask; the others are there to be found."""
    rows = rng.permutation(rows)
    cams = camids[rows]
    if (cams == UNKNOWN).any() or len(set(cams)) < 2:
        return [int(r) for r in rows[: max(1, len(rows) // 4)]]
    chosen: list[int] = []
    for cam in np.unique(cams):
        mine = rows[cams == cam]
        others_left = set(rows[cams != cam]) - set(chosen)
        if len(mine) > 1 or len(others_left) > 1 or not chosen:
            chosen.append(int(mine[0]))
    return chosen
