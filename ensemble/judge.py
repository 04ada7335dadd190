"""Mixes of a build's members, each scored exactly and once: a whole search, every query, the competition's own rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from configs.schema import Competition
from ensemble.distances import Feats
from ensemble.metrics import Score
from ensemble.mix import Mix, stream
from ensemble.record import Evaluation, all_camids
from ensemble.rule import score_stream, total_per_query


@dataclass(frozen=True)
class Judge:
    """feats: (N, D_m) unit rows a member, queries first. names: of the members, as signatures say them."""

    feats: Sequence[Feats]
    names: Sequence[str]
    evaluation: Evaluation
    competition: Competition
    device: str = "auto"
    _kept: dict[Mix, Score] = field(default_factory=dict, repr=False)

    def score(self, mix: Mix) -> Score:
        """The exact score of a mix, with its per-query facts."""
        if mix not in self._kept:
            said = {"distance": "cosine", "rerank": mix.describe(), "members": self._members(mix)}
            dist = stream(
                *self._used(mix),
                len(self.evaluation.query_pids),
                device=self.device,
                camids=all_camids(self.evaluation),
            )
            self._kept[mix] = score_stream(dist, self.evaluation, self.competition, said)
        return self._kept[mix]

    def totals(self, mix: Mix) -> NDArray[np.float64]:
        """(Q,) each query's share of the total; NaN where it was skipped."""
        return total_per_query(self.score(mix), self.competition)

    def _used(self, mix: Mix) -> tuple[Mix, list[Feats]]:
        """The mix of those members alone that have a weight: the others cost no product."""
        used = [(a, w) for a, w in zip(self.feats, mix.weights, strict=True) if w > 0]
        return replace(mix, weights=tuple(w for _, w in used)), [a for a, _ in used]

    def _members(self, mix: Mix) -> str:
        return "+".join(f"{name}*{w:g}" for name, w in zip(self.names, mix.weights, strict=True) if w > 0)
