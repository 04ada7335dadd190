"""How members become one stream of distances: their weights, the re-ranking, and which of sum and re-rank is first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from configs.errors import ConfigError
from configs.schema import EACH_FIRST, SUM_FIRST, Ensemble
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import Feats
from ensemble.neighbours.knn import Neighbours, nearest
from ensemble.neighbours.similarity import Penalties
from ensemble.rerank import k_reciprocal_encoding


@dataclass(frozen=True)
class Mix:
    """One way to mix M members.

    weights: (M,), >= 0, not all 0. rerank: k_reciprocal or none. fusion: sum_then_rerank re-ranks the summed distances;
    rerank_then_sum sums what the re-ranking makes of each member's. camera: added to the distance of two images of one
    camera, in the sum or in each.
    """

    weights: tuple[float, ...]
    rerank: str = "k_reciprocal"
    k1: int = 20
    k2: int = 6
    lam: float = 0.3
    power: int = 2
    fusion: str = SUM_FIRST
    camera: float = 0.0

    @property
    def setting(self) -> dict[str, Any]:
        """What `ensemble.rerank` takes by name."""
        return {"k1": self.k1, "k2": self.k2, "lam": self.lam, "power": self.power}

    @property
    def each(self) -> bool:
        """Whether every member is re-ranked by itself."""
        return self.rerank != "none" and self.fusion == EACH_FIRST and sum(w > 0 for w in self.weights) > 1

    def describe(self) -> str:
        """`k_reciprocal(k1=20,k2=6,lam=0.3,power=2)`, for signatures; fusion and penalty where not the usual."""
        penalty = f",camera_penalty={self.camera:g}" if self.camera else ""
        if self.rerank == "none":
            return "none" + penalty
        numbers = ",".join(f"{k}={v:g}" for k, v in self.setting.items())
        return f"{self.rerank}({numbers})" + (f",{EACH_FIRST}" if self.each else "") + penalty

    def penalties(self, camids: ArrayLike | None) -> Penalties | None:
        """What `ensemble.neighbours` takes by that name.

        Raises:
            ConfigError: there is a penalty, and no cameras.
        """
        if not self.camera:
            return None
        if camids is None or (np.asarray(camids) < 0).all():
            raise ConfigError(f"ensemble.camera_penalty is {self.camera:g}, and no camera is known here: leave it 0")
        return [(camids, self.camera)]


def mix_of(ensemble: Ensemble, members: Sequence[str]) -> Mix:
    """What a plan asks for of these members."""
    e = ensemble
    weights = tuple(e.weights.get(name, 1.0) for name in members)
    return Mix(weights, e.rerank, e.k1, e.k2, e.lam, e.power, e.fusion, e.camera_penalty)


def stream(
    mix: Mix,
    feats: Sequence[Feats],
    n_query: int,
    *,
    near: Neighbours | None = None,
    device: str = "auto",
    camids: ArrayLike | None = None,
) -> Iterator[distance_blocks.Block]:
    """Distances of every query to the whole gallery, exactly: (slice of queries, (b, G) float32).

    Args:
        feats: (N, D_m) unit rows each, queries first; or distances.
        near: the neighbours by the summed distance where somebody has them; else they are searched for.
        camids: (N,), -1 unknown; a penalty needs them.
    """
    given: dict[str, Any] = {"penalties": mix.penalties(camids), "device": device}
    if mix.rerank == "none":
        return distance_blocks.blocks(feats, n_query, weights=mix.weights, **given)
    if not mix.each:
        one = near
        if one is None:
            one = nearest(feats, needed(mix, len(feats[0])), weights=mix.weights, **given)
        return k_reciprocal_encoding.blocks(one, feats, n_query, weights=mix.weights, **given, **mix.setting)
    pairs = [(a, w) for a, w in zip(feats, mix.weights, strict=True) if w > 0]
    found = [nearest(a, needed(mix, len(a)), **given) for a, _ in pairs]
    return each(mix, [a for a, _ in pairs], found, n_query, [w for _, w in pairs], device, camids)


def each(
    mix: Mix,
    feats: Sequence[Feats],
    near: Sequence[Neighbours],
    n_query: int,
    weights: Sequence[float],
    device: str,
    camids: ArrayLike | None = None,
) -> Iterator[distance_blocks.Block]:
    """Every member re-ranked by its own neighbours, then summed."""
    given: dict[str, Any] = {"penalties": mix.penalties(camids), "device": device}
    streams = [
        k_reciprocal_encoding.blocks(n, a, n_query, **given, **mix.setting) for n, a in zip(near, feats, strict=True)
    ]
    return distance_blocks.summed(streams, weights)


def needed(mix: Mix, n: int) -> int:
    """Neighbours a row that the re-ranking reads."""
    return min(n, max(mix.k1 + 1, mix.k2))
