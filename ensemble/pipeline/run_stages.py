"""Run the stages of a build in order: import external members, train members, rank each test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from configs.errors import ReidError, TrainingError
from configs.schema import Member
from configs.store.code_version import Digest
from configs.store.store import Address
from ensemble.pipeline.calibration_stage import HOLDOUT, calibrate
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.domains import find_domains_and_tracks
from ensemble.pipeline.groups import rerank_groups
from ensemble.pipeline.member_pool import make_in_parallel, report_given_up
from ensemble.pipeline.ranking_stage import expand_features, make_ranking
from ensemble.pipeline.stages import BuildPlan, decoded_images, features, images_needed, member_features_address, train
from ensemble.pipeline.whitening_stage import whitened
from ensemble.results.build_record import Evaluation
from ensemble.results.left_out import left_out_of, left_out_rows
from models.data.split import own_rows, scorable


def run_stages(context: BuildContext, plan: BuildPlan) -> dict[str, Evaluation]:
    """Make every result that is not cached: members, features, and a ranking for each test.

    Raises:
        TrainingError: training failed for some members. The other members are trained first.
    """
    for incoming in plan.outside.values():
        incoming.take_in(context.store, plan.tests, context.progress.say)
    make_members(context, plan)
    evaluations = {}
    final = {test: final_banks(context, plan, test) for test in plan.tests}
    for test, (query, gallery) in plan.tests.items():
        scores, banks = scorable(query, gallery, context.config.competition.junk), final[test]
        left_out = left_out_of(context.config.competition.junk, query, gallery)
        learned = calibrate(context, plan, test, banks, final.get(HOLDOUT, {}))
        camids = np.concatenate([query.camids, gallery.camids])
        kinds = find_domains_and_tracks(context, test, query, gallery)
        groups = rerank_groups(context.config.ensemble, query, gallery)
        evaluation = Evaluation(
            banks={name: address.key for name, address in banks.items()},
            ranking="",
            neighbours=None,
            query_pids=query.pids.tolist() if scores else [],
            query_camids=query.camids.tolist(),
            gallery_pids=gallery.pids.tolist() if scores else [],
            gallery_camids=gallery.camids.tolist(),
            kinds=kinds,
            groups=[] if context.config.ensemble.group_by == "camera" else groups.tolist(),
            calibration=learned.key if learned else None,
            **left_out_rows(context.config.competition.junk, query, gallery),
        )
        evaluation = replace(evaluation, itself=own_images(plan, test, evaluation.own))
        neighbours, ranking = make_ranking(context, test, banks, camids, kinds, groups, left_out, learned)
        kept = neighbours.key if neighbours else None
        evaluations[test] = replace(evaluation, ranking=ranking.key, neighbours=kept)
    return evaluations


def final_banks(context: BuildContext, plan: BuildPlan, test: str) -> dict[str, Address]:
    """Each member's features of a test as they are ranked: extracted, or whitened, or averaged."""
    banks = {m.name: features(context, plan, m, test) for m in context.config.members}
    banks |= {name: incoming.banks[test] for name, incoming in plan.outside.items()}
    left_out = left_out_of(context.config.competition.junk, *plan.tests[test])
    return expand_features(context, test, whitened(context, plan, test, banks), left_out)


def own_images(plan: BuildPlan, test: str, left_out: Sequence[int]) -> list[int]:
    """The gallery row of each query's own image, if its list contains it. File contents identify copies, if read.

    left_out: (Q,) gallery row of each query's own image that its list excludes; may be empty.
    """
    query, gallery = plan.tests[test]
    sides = next(iter(plan.test_images.get(test, {}).values()), ())  # the same files for every size
    contents = [address.request["contents"] for address in sides]
    known = len(contents) == 2 and all(isinstance(digest, Digest) for digest in contents)
    rows = own_rows(query, gallery, (contents[0].parts, contents[1].parts)) if known else own_rows(query, gallery)
    rows = np.where(rows == np.array(left_out), -1, rows) if left_out else rows
    return rows.tolist() if (rows >= 0).any() else []


def make_members(context: BuildContext, plan: BuildPlan) -> None:
    """Train every member whose features are not cached. In parallel builds, also extract the features.

    Raises:
        ReidError: one member failed. The others are trained first.
        TrainingError: several members failed.
    """
    left = [
        m
        for m in context.config.members
        if not all(context.store.has(member_features_address(context, plan, m.name, test)) for test in plan.tests)
    ]
    for address in images_needed(context, plan, left):
        decoded_images(context, plan, address)  # a damaged image is an error before training
    count = min(context.parallel, len(left))
    failed = make_in_parallel(context, plan, left, count) if count > 1 else _one_by_one(context, plan, left)
    for error in failed:
        if len(failed) == 1 or not isinstance(error, ReidError):
            raise error
    if failed:
        raise TrainingError("; ".join(map(str, failed)))


def _one_by_one(context: BuildContext, plan: BuildPlan, members: Sequence[Member]) -> list[Exception]:
    failed: list[Exception] = []
    for member in members:
        try:
            train(context, plan, member)
        except TrainingError as e:
            failed.append(e)
            report_given_up(context, member, e)
    return failed
