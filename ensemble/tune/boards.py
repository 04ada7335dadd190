"""What is tuned: one search, or several whose queries count alike, such as the folds of the training images.

The features of two folds come from different networks, so images of different folds have no distance. Each fold is
therefore a board of its own: its queries are ranked against its gallery, re-ranked and whitened within it. A score is
the mean over the queries of all boards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from ensemble.features.feature_bank import feature_arrays, open_banks
from ensemble.fusion import partitions
from ensemble.fusion.partitions import Partition
from ensemble.fusion.strategy import FusionSettings, fusion_settings
from ensemble.metrics.competition_score import data_digest, parse
from ensemble.neighbours.distances import Feats
from ensemble.rerank import whitening
from ensemble.rerank.registry import is_grouped
from ensemble.results.build_record import Evaluation, all_groups
from ensemble.results.open_evaluation import OpenEvaluation
from ensemble.tune.exact_scorer import ExactScorer, of_parts
from ensemble.tune.fast_scorer import FastScorer
from models.data.heldout.fold_board import draw_board, shape_of_lists
from models.data.split import UNKNOWN

DRAW = 8  # of the random numbers


class NotWhitened(ConfigError):
    """A member's features cannot be whitened."""


@dataclass(frozen=True)
class Boards:
    """The exact scorer of each board. Queries are those of the boards one after another."""

    judges: tuple[ExactScorer, ...]

    @property
    def parts(self) -> tuple[Partition, ...]:
        """The domain or tracks that the one board is; none otherwise."""
        return self.judges[0].parts

    @property
    def pids(self) -> NDArray[np.int64]:
        """(Q,) identity of each query."""
        return np.concatenate([np.array(judge.evaluation.query_pids, np.int64) for judge in self.judges])

    @property
    def images(self) -> int:
        """Of the largest board."""
        return max(len(judge.feats[0]) for judge in self.judges)

    def totals(self, mix: FusionSettings) -> NDArray[np.float64]:
        """(Q,) total of each query; NaN where it was skipped."""
        return np.concatenate([judge.totals(mix) for judge in self.judges])

    def total(self, mix: FusionSettings) -> float:
        """The mean over all queries that count."""
        return float(np.nanmean(self.totals(mix)))

    def chance(self, seed: int) -> NDArray[np.float64]:
        """(Q,) total of each query for random lists."""
        return np.concatenate([judge.chance(seed) for judge in self.judges])

    def signature(self, mix: FusionSettings) -> str:
        """The rules; of several boards with the skipped queries and the data of all."""
        every = [judge.score(mix).signature for judge in self.judges]
        if len(every) == 1:
            return every[0]
        told = [parse(one) for one in every]
        data = data_digest(*([int(one["data"], 16)] for one in told))
        said = told[0] | {"skipped": str(sum(int(one["skipped"]) for one in told)), "data": data}
        return "|".join(f"{key}={value}" for key, value in (said | {"boards": str(len(every))}).items())

    def fast(self, most: int, shrinkage: float | None = None, *, grouped: bool = False) -> FastBoards:
        """Approximate scorers.

        Args:
            most: neighbours per image that the largest settings read. grouped: whether settings go by groups.
        """
        judges = self.judges
        if shrinkage is not None:
            judges = tuple(replace(judge, feats=judge.white[shrinkage]) for judge in judges)
        groups = [all_groups(judge.evaluation) if grouped else None for judge in judges]
        return FastBoards([FastScorer(judge, most, groups=of) for judge, of in zip(judges, groups, strict=True)])


class FastBoards:
    """The approximate scorer of each board."""

    def __init__(self, scorers: Sequence[FastScorer]) -> None:
        self.scorers = scorers

    def totals(self, mix: FusionSettings) -> NDArray[np.float64]:
        """(Q,) total of each query, boards one after another."""
        return np.concatenate([scorer.totals(mix) for scorer in self.scorers])

    @property
    def tried(self) -> int:
        """Settings."""
        return len(self.scorers[0].kept)

    @property
    def seconds(self) -> float:
        """Time spent."""
        return sum(scorer.seconds for scorer in self.scorers)

    @property
    def rate(self) -> float:
        """Settings tried per minute."""
        return 60 * self.tried / max(self.seconds, 1e-9)

    @property
    def images(self) -> int:
        """Of all boards."""
        return sum(scorer.source.n for scorer in self.scorers)

    @property
    def gallery(self) -> int:
        """Images, or tracks, of all galleries."""
        return sum(scorer.source.n - scorer.n_query for scorer in self.scorers)

    @property
    def depth(self) -> int:
        """Length of the longest lists."""
        return max(scorer.depth for scorer in self.scorers)


def whitened(feats: Sequence[Feats], members: Iterable[str], shrinkage: float) -> list[Feats]:
    """Each member's features as a build with `ensemble.whiten=test` has them.

    Raises:
        NotWhitened: they do not vary, or one lies on their mean.
    """
    out = list[Feats]()
    for name, one in zip(members, feats, strict=True):
        try:
            out.append(whitening.learn(np.asarray(one), shrinkage=shrinkage).apply(np.asarray(one)))
        except ValueError as e:
            raise NotWhitened(f"{name}: {e}") from e
    return out


def problems(case: OpenEvaluation, device: str, seed: int = 0, white: Sequence[float] = ()) -> dict[str, Boards]:
    """By name: `all`, or a domain. Tracks are found as one in each, as the build found them.

    Args:
        seed: of the boards that are drawn from folds. white: shrinkages to whiten the features with.

    Raises:
        ConfigError: a member that gives distances.
    """
    if case.folds:
        return {partitions.ALL: Boards(fold_boards(case, device, seed, white))}
    judge = scorer_of(case, device)
    kinds = case.evaluation.kinds
    if kinds is None:
        return {partitions.ALL: Boards((with_whitened(judge, case.evaluation.banks, white),))}
    found = partitions.partitions_of(kinds, judge.rows, len(judge.feats[0]))
    return {part.name: Boards((of_parts(judge, [part]),)) for part in found}


def scorer_of(case: OpenEvaluation, device: str) -> ExactScorer:
    """The exact scorer of the evaluation.

    Raises:
        ConfigError: a member that gives distances.
    """
    banks = open_banks(case.store, case.evaluation.banks)
    given = [bank.member for bank in banks if not isinstance(bank.feats, np.ndarray)]
    if given:
        raise ConfigError(
            f"{given[0]}: distances from outside; tuning wants features. Build without it to tune the rest"
        )
    names = [bank.fingerprint.split("/")[1] for bank in banks]
    return ExactScorer([bank.feats for bank in banks], names, case.evaluation, case.plan.competition, device)


def with_whitened(judge: ExactScorer, members: Iterable[str], white: Sequence[float]) -> ExactScorer:
    """The scorer with its features whitened by themselves, for each of these shrinkages."""
    names = list(members)
    return replace(judge, white={shrinkage: whitened(judge.feats, names, shrinkage) for shrinkage in white})


def fold_boards(case: OpenEvaluation, device: str, seed: int, white: Sequence[float]) -> tuple[ExactScorer, ...]:
    """A scorer per fold, of lists that are drawn from its images and shaped like the evaluation's.

    Raises:
        ConfigError: the build re-ranks by domains, which training images do not have.
    """
    settings = case.plan.ensemble
    if settings.group_by != "camera" and is_grouped(fusion_settings(settings, ()).reranker):
        raise ConfigError(
            f"folds: the build re-ranks by groups, ensemble.group_by={settings.group_by}, which are not known of its "
            "training images. Tune with --evaluation test, or set ensemble.group_by=camera"
        )
    e, out = case.evaluation, []
    shape = shape_of_lists(e.query_pids, e.query_camids, e.gallery_pids, e.gallery_camids)
    for number, fold in enumerate(case.folds):
        pids, camids = np.array(fold.pids, np.int64), np.array(fold.camids, np.int64)
        camids = camids if shape.cameras else np.full(len(camids), UNKNOWN)  # then they decide nothing in the test
        query, gallery = draw_board(pids, camids, shape, [seed, number, DRAW])
        rows = np.concatenate([query, gallery])
        banks = open_banks(case.store, fold.banks)
        feats = [one[rows] for one in feature_arrays(banks, "folds")]
        lists = (pids[query], camids[query], pids[gallery], camids[gallery])
        evaluation = Evaluation(fold.banks, "", None, *(numbers.tolist() for numbers in lists))
        names = [bank.fingerprint.split("/")[1] for bank in banks]
        judge = ExactScorer(feats, names, evaluation, case.plan.competition, device)
        out.append(with_whitened(judge, fold.banks, white))
    return tuple(out)
