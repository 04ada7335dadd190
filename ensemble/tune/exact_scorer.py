"""Mixes of a build's members, each scored exactly and once: a whole search, every query, the competition's own rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import Competition
from ensemble.fusion import partitions
from ensemble.fusion.partitions import BLOCK, Partition
from ensemble.fusion.strategy import FusionSettings, distance_stream
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import spans
from ensemble.metrics.competition_score import score_stream, total_per_query
from ensemble.metrics.retrieval_metrics import Score
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import Feats
from ensemble.results.build_record import Evaluation, all_camids, all_groups


@dataclass(frozen=True)
class ExactScorer:
    """feats: (N, D_m) unit rows a member, queries first. names: of the members, as signatures say them.

    every: what the lists of all queries leave out, for parts.
    evaluation: of the queries that count. parts: what is searched by itself, and whose queries those are, in their
    order; none where everything is one search. white: shrinkage -> the features whitened so, for
    mixes that are of these.
    """

    feats: Sequence[Feats]
    names: Sequence[str]
    evaluation: Evaluation
    competition: Competition
    device: str = "auto"
    parts: tuple[Partition, ...] = ()
    white: Mapping[float, Sequence[Feats]] = field(default_factory=dict)
    every: LeftOut | None = None
    _kept: dict[tuple[FusionSettings, ...], Score] = field(default_factory=dict, repr=False)

    @property
    def rows(self) -> int:
        """Of the features that are queries, whether they count here or not."""
        return len(self.feats[0]) - len(self.evaluation.gallery_pids)

    def score(self, *mixes: FusionSettings) -> Score:
        """The exact score of a mix, or of one a part, with its per-query facts."""
        if mixes not in self._kept:
            said = {"distance": "cosine", "rerank": self._described(mixes), "members": self._members(mixes)}
            self._kept[mixes] = score_stream(self._stream(mixes), self.evaluation, self.competition, said)
        return self._kept[mixes]

    def totals(self, *mixes: FusionSettings) -> NDArray[np.float64]:
        """(Q,) each query's share of the total; NaN where it was skipped."""
        return total_per_query(self.score(*mixes), self.competition)

    def chance(self, seed: int, draws: int = 5) -> NDArray[np.float64]:
        """(Q,) each query's share of the total in lists of no order, the mean of some draws."""
        rng, n_gallery = np.random.default_rng([seed, 6]), len(self.evaluation.gallery_pids)

        def block(rows: slice) -> distance_blocks.Block:
            return rows, rng.random((rows.stop - rows.start, n_gallery), np.float32)

        queries = spans(len(self.evaluation.query_pids), BLOCK)
        scores = (score_stream(map(block, queries), self.evaluation, self.competition, {}) for _ in range(draws))
        totals: NDArray[np.float64] = np.mean([total_per_query(score, self.competition) for score in scores], axis=0)
        return totals

    def _stream(self, mixes: tuple[FusionSettings, ...]) -> Iterator[distance_blocks.Block]:
        if self.parts:
            return partitions.blocks(mixes, self.feats, self.parts, self.rows, self.device, self.every)
        shrinkage = mixes[0].whitened
        feats, mix = partitions.drop_unweighted(self.feats if shrinkage is None else self.white[shrinkage], mixes[0])
        of: dict[str, Any] = {"camids": all_camids(self.evaluation), "groups": all_groups(self.evaluation)}
        of |= {"left_out": self.evaluation.left_out}
        return distance_stream(mix, feats, self.rows, device=self.device, **of)

    def _described(self, mixes: tuple[FusionSettings, ...]) -> str:
        return partitions.describe(mixes, self.parts, mixes[0].weights) if self.parts else mixes[0].describe()

    def _members(self, mixes: tuple[FusionSettings, ...]) -> str:
        """Those that have a weight, each with that of the first mix; a part with others says so in its description."""
        first = zip(self.names, mixes[0].weights, strict=True)
        anywhere = [any(weights) for weights in zip(*(mix.weights for mix in mixes), strict=True)]
        return "+".join(f"{name}*{w:g}" for (name, w), there in zip(first, anywhere, strict=True) if there)


def of_parts(judge: ExactScorer, wanted: Sequence[Partition]) -> ExactScorer:
    """The same members judged by some parts, on the queries of these alone."""
    asked = np.sort(np.concatenate([part.query for part in wanted]))
    e = judge.evaluation
    given = judge.feats, judge.names, e.of_queries(asked), judge.competition, judge.device
    return ExactScorer(*given, tuple(wanted), every=judge.every or e.left_out)
