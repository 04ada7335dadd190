"""Exact scores of fusion settings, cached: full search, every query, the competition's rule."""

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
    """Scores settings on one evaluation.

    Attributes:
        feats: (N, D_m) unit rows per member, queries first. names: the members, as in signatures.
        evaluation: the queries that count.
        parts: parts of the data that are searched separately, with their queries; empty for one search.
        white: shrinkage -> features whitened with it, for settings that whiten.
        every: gallery images that the lists of all queries exclude, for `parts`.
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
        """The number of query features, also of queries that do not count here."""
        return len(self.feats[0]) - len(self.evaluation.gallery_pids)

    def score(self, *mixes: FusionSettings) -> Score:
        """The exact score of one mix, or of one mix per part, with the results per query."""
        if mixes not in self._kept:
            said = {"distance": "cosine", "rerank": self._described(mixes), "members": self._members(mixes)}
            self._kept[mixes] = score_stream(self._stream(mixes), self.evaluation, self.competition, said)
        return self._kept[mixes]

    def totals(self, *mixes: FusionSettings) -> NDArray[np.float64]:
        """(Q,) each query's contribution to the total; NaN if the query was skipped."""
        return total_per_query(self.score(*mixes), self.competition)

    def chance(self, seed: int, draws: int = 5) -> NDArray[np.float64]:
        """(Q,) each query's contribution to the total for lists in random order, the mean of `draws` draws."""
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
        """Members with a weight in any mix, with the weight of the first. The description has the other weights."""
        first = zip(self.names, mixes[0].weights, strict=True)
        anywhere = [any(weights) for weights in zip(*(mix.weights for mix in mixes), strict=True)]
        return "+".join(f"{name}*{w:g}" for (name, w), there in zip(first, anywhere, strict=True) if there)


def of_parts(judge: ExactScorer, wanted: Sequence[Partition]) -> ExactScorer:
    """A scorer of the same members for some parts, on the queries of these parts only."""
    asked = np.sort(np.concatenate([part.query for part in wanted]))
    e = judge.evaluation
    given = judge.feats, judge.names, e.of_queries(asked), judge.competition, judge.device
    return ExactScorer(*given, tuple(wanted), every=judge.every or e.left_out)
