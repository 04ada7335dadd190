"""What `ensemble.fusion=calibrated` learns, for each test, on labelled images that no member was trained on.

With folds it learns on these: each fold is a board of its own, as in `ensemble.tune`. All its images are used, one
query per camera; no label of a test has a part in it. Without folds it learns on the held-out identities. Their own
ranking is then cross-fitted: the queries of one half of the persons are calibrated by the pairs of the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.schema import CALIBRATED, Ensemble
from configs.store.store import Address
from ensemble.features.feature_bank import open_banks
from ensemble.fusion import calibrated_pairs
from ensemble.fusion.calibrated_pairs import LabelledPairs, QueryCalibrations, joined, labelled_pairs
from ensemble.fusion.partitions import select_features
from ensemble.fusion.strategy import FusionSettings, fusion_settings, member_streams, rerank_request
from ensemble.neighbours import LeftOut
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.groups import rerank_groups
from ensemble.pipeline.stages import BuildPlan, member_features_address
from ensemble.rerank.registry import is_grouped
from ensemble.results import cache_keys
from ensemble.results.left_out import left_out_of
from models.data.heldout.fold_board import draw_board, shape_of_lists
from models.data.split import UNKNOWN

TEST, HOLDOUT = "test", "holdout"
SAME_CAM = "same_pid_same_cam"
LEAST_PERSONS = 10
DRAW, HALVES = 9, 10  # of the random numbers
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class LabelledBoard:
    """Labelled lists.

    Attributes:
        banks: member -> its features.
        query, gallery: rows of these.
        pids, camids, groups: (N,) of queries and gallery in this order.
    """

    banks: Mapping[str, Address]
    query: NDArray[np.intp]
    gallery: NDArray[np.intp]
    pids: Ids
    camids: Ids
    groups: Ids
    left_out: LeftOut | None = None

    @property
    def persons(self) -> int:
        """That ask."""
        return len(np.unique(self.pids[: len(self.query)]))


def check_calibration(ensemble: Ensemble, folds: int | None, holdout: float | None) -> None:
    """Check that a calibrated fusion has something to learn from, before any work.

    Raises:
        ConfigError: it has not, or the folds do not have the features of the test.
    """
    if ensemble.fusion != CALIBRATED:
        return
    if not folds and holdout is None:
        raise ConfigError(
            "ensemble.fusion=calibrated learns on labelled pairs that no member was trained on, and this build has "
            "none: add --folds 5, or --holdout 0.2"
        )
    changed = next((key for key in ("whiten", "expand") if getattr(ensemble, key) is not None), None)
    if ensemble.group_by != "camera" and is_grouped(fusion_settings(ensemble, ()).reranker):
        changed = "group_by"
    if folds and changed:
        raise ConfigError(
            f"ensemble.fusion=calibrated learns on the folds, which do not have ensemble.{changed}: leave that out, or "
            "take --holdout 0.2 in the place of --folds"
        )


def labelled_boards(context: BuildContext, plan: BuildPlan, holdout: Mapping[str, Address]) -> list[LabelledBoard]:
    """What is learned from; nothing where the plan has neither folds nor held-out identities.

    Args:
        holdout: the features of these, as they are ranked.

    Raises:
        DataError: too few persons. ConfigError: a camera penalty, or groups, without cameras.
    """
    boards = [_of_fold(context, plan, number) for number in range(len(plan.folds))]
    if not boards and HOLDOUT in plan.tests:
        query, gallery = plan.tests[HOLDOUT]
        pids, camids = (np.concatenate([getattr(side, key) for side in (query, gallery)]) for key in ("pids", "camids"))
        rows = np.arange(len(query)), np.arange(len(query), len(pids))
        groups = rerank_groups(context.config.ensemble, query, gallery)
        left_out = left_out_of(context.config.competition.junk, query, gallery)
        boards = [LabelledBoard(holdout, *rows, pids, camids, groups, left_out)]
    persons = sum(board.persons for board in boards)
    if boards and persons < LEAST_PERSONS:
        way = "--folds" if plan.folds else "--holdout"
        raise DataError(
            f"ensemble.fusion=calibrated has {persons} identities to learn on ({way}), and needs at least "
            f"{LEAST_PERSONS}: leave it out, or take {'fewer folds' if plan.folds else 'a larger --holdout'}"
        )
    mix = fusion_settings(context.config.ensemble, ())
    for board in boards:
        mix.penalties(board.camids)
        mix.groups(board.groups)
    return boards


def _of_fold(context: BuildContext, plan: BuildPlan, number: int) -> LabelledBoard:
    ((name, (_, images)),) = plan.folds[number].tests.items()
    shape = shape_of_lists([], plan.tests[TEST][0].camids, [], plan.tests[TEST][1].camids)
    known = images.camids if shape.cameras else np.full(len(images), UNKNOWN)  # then they decide nothing in the test
    query, gallery = draw_board(images.pids, known, shape, [context.config.recipe.seed, number, DRAW])
    rows = np.concatenate([query, gallery])
    banks = {m.name: member_features_address(context, plan.folds[number], m.name, name) for m in context.config.members}
    return LabelledBoard(banks, query, gallery, images.pids[rows], known[rows], known[rows])


def calibration_address(
    context: BuildContext, plan: BuildPlan, test: str, banks: Mapping[str, Address], holdout: Mapping[str, Address]
) -> Address | None:
    """Where what a test's ranking reads is kept; None where nothing is learned, or nothing can be.

    Args:
        banks: the test's features. holdout: as in `labelled_boards`.
    """
    if context.config.ensemble.fusion != CALIBRATED:
        return None
    boards = labelled_boards(context, plan, holdout)
    if not boards:
        return None
    weights = fusion_settings(context.config.ensemble, list(banks)).weights
    lists = [
        [cache_keys.labels_hash(a) for a in (b.query, b.gallery, b.pids, b.camids, b.groups)]
        + [str(cache_keys.left_out_request(b.left_out))]
        for b in boards
    ]
    request = {
        "banks": {f"{n}/{m}": a.digest for n, board in enumerate(boards, 1) for m, a in board.banks.items()},
        "lists": lists,
        "crossed": _crossed(plan, test),
        "weights": dict(zip(banks, weights, strict=True)),
        "rerank": rerank_request(context.config.ensemble),
        "junk": context.config.competition.junk,
        "seed": context.config.recipe.seed,
        "code": cache_keys.retrieval_code(cache_keys.PIPELINE),
    }
    return Address("calibrations", test, request)


def calibrate(
    context: BuildContext, plan: BuildPlan, test: str, banks: Mapping[str, Address], holdout: Mapping[str, Address]
) -> Address | None:
    """Learn what a test's ranking reads, or find it learned; arguments and None as in `calibration_address`.

    Raises:
        DataError: the pools hold pairs of one kind only.
    """
    address = calibration_address(context, plan, test, banks, holdout)
    if address is None:
        return None

    def make(folder: Path) -> None:
        mix, boards = fusion_settings(context.config.ensemble, list(banks)), labelled_boards(context, plan, holdout)
        pairs = joined([_pairs(context, board, mix, list(banks)) for board in boards])
        asked = boards[0].pids[: len(boards[0].query)] if _crossed(plan, test) else None
        try:
            learned = _learn(pairs, mix, asked, context.config.recipe.seed)
        except ValueError as e:
            raise DataError(f"ensemble.fusion=calibrated: {e}. Leave it out, or hold out more identities") from e
        source = "the folds" if plan.folds else "held-out identities"
        context.progress.say(
            f"{test}: {mix.calibrating.name} calibration of {len(banks)} members learned on {len(pairs.same):,} pairs "
            f"of {source}, {int(pairs.same.sum()):,} of one identity" + (", by halves" if asked is not None else "")
        )
        calibrated_pairs.save(folder, learned)

    context.store.get(address, make)
    return address


def _crossed(plan: BuildPlan, test: str) -> bool:
    """Whether a test is what is learned from."""
    return test == HOLDOUT and not plan.folds


def _pairs(context: BuildContext, board: LabelledBoard, mix: FusionSettings, members: Sequence[str]) -> LabelledPairs:
    banks = open_banks(context.store, {name: board.banks[name].key for name in members})
    q = len(board.query)
    feats = [bank.feats for bank in banks]
    if banks[0].n_query != q:  # of a fold: a gallery alone
        feats = [select_features(a, board.query, tuple(board.gallery[:, None]), 0) for a in feats]
    streams, weights = member_streams(mix, feats, q, context.device, board.camids, board.left_out, board.groups)
    camids = board.camids[:q], board.camids[q:]
    counts = SAME_CAM in context.config.competition.junk.split("+") and all((side >= 0).any() for side in camids)
    pids = board.pids[:q], board.pids[q:]
    return labelled_pairs(streams, weights, mix.calibrating.pool, pids, camids if counts else None)


def _learn(pairs: LabelledPairs, mix: FusionSettings, asked: Ids | None, seed: int) -> QueryCalibrations:
    """asked: (Q,) persons of the queries, if each half of the persons is to be calibrated by the other."""
    name, weights = mix.calibrating.name, mix.weights
    if asked is None:
        return QueryCalibrations((pairs.fit(name, weights),))
    persons = np.random.default_rng([seed, HALVES]).permutation(np.unique(asked))
    first = np.isin(asked, persons[: len(persons) // 2])
    learned = tuple(pairs.of(half).fit(name, weights) for half in (~first, first))
    return QueryCalibrations(learned, tuple(np.where(first, 0, 1).tolist()))
