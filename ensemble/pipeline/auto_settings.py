"""`k1: auto` and `k2: auto`: numbers of the re-ranking that follow from the training list, before any address is made.

k1 is how many neighbours are looked at for reciprocity, and the right ones among them are at most as many as an
identity has images. So it is the median number of images of the training identities, within bounds; k2 a share of it.
Nothing of the test is read; what is chosen stands in the plan, in every address and signature as if it had been given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from configs.errors import ConfigError
from configs.schema import Ensemble
from models.data.split import Split

FEWEST, MOST = 6, 40  # of k1: what was measured (BENCHMARKS.md), and what teams have won with
SHARE = 0.3  # k2 of k1, as in 20 and 6, 10 and 3
AUTO = "auto"


def asks_auto(settings: Ensemble) -> bool:
    """Whether a number is left to the training list."""
    return AUTO in (settings.k1, settings.k2)


def k1_of(images: float) -> int:
    """k1 where an identity has so many images."""
    return int(min(max(round(images), FEWEST), MOST))


def k2_of(k1: int) -> int:
    """k2 that goes with a k1."""
    return max(1, round(SHARE * k1))


def settle_k(settings: Ensemble, train: Split) -> tuple[Ensemble, str]:
    """The settings with numbers in the place of `auto`, and what was chosen, in words; nothing where none was asked.

    Raises:
        ConfigError: the training list names nobody.
    """
    if not asks_auto(settings):
        return settings, ""
    _, counts = np.unique(train.pids[train.pids >= 0], return_counts=True)
    if not len(counts):
        raise ConfigError("ensemble.k1 auto goes by the images of training identities, and none is known: give numbers")
    images = float(np.median(counts))
    k1 = k1_of(images) if settings.k1 == AUTO else int(settings.k1)
    chosen: dict[str, Any] = {"k1": k1, "k2": k2_of(k1) if settings.k2 == AUTO else settings.k2}
    told = ", ".join(f"{key} {chosen[key]}" for key in chosen if getattr(settings, key) == AUTO)
    words = f"re-ranking, auto: {told}, by {len(counts):,} training identities of {images:g} images (median)"
    return settings.model_copy(update=chosen), words
