"""List the results of a build in the order in which they are made, and whether each is cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.schema import CALIBRATED
from configs.store.store import Address
from ensemble.pipeline.calibration_stage import HOLDOUT, calibration_address
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.groups import rerank_groups
from ensemble.pipeline.ranking_stage import addresses_of, expanded_addresses
from ensemble.pipeline.stages import BuildPlan, frozen_features_address, member_features_address
from ensemble.pipeline.whitening_stage import TRAIN, of_training, where_whitened
from ensemble.results.left_out import left_out_of
from models.training.frozen_features import copies

MADE = {
    "images": ("reading images", "read"),
    "frozen": ("extracting", "extracted"),
    "members": ("training", "trained"),
    "features": ("extracting", "extracted"),
    "whitened": ("whitening", "whitened"),
    "expanded": ("averaging", "averaged"),
    "calibrations": ("calibrating", "calibrated"),
    "neighbours": ("searching", "searched"),
    "rankings": ("ranking", "ranked"),
}


@dataclass(frozen=True)
class PlannedResult:
    """One result of a build.

    row: its row in the progress table: a member, a test, or `images`. count: number of input images.
    """

    address: Address
    row: str
    count: int
    kept: bool

    @property
    def kind(self) -> str:
        """images, frozen, members, features, whitened, expanded, calibrations, neighbours or rankings."""
        return self.address.kind


def list_planned_results(job: BuildContext, work: BuildPlan) -> list[PlannedResult]:
    """The results of a build. Results that are not needed any more are listed only if they are cached."""
    banks = {t: {m.name: member_features_address(job, work, m.name, t) for m in job.plan.members} for t in work.tests}
    missing = {name for of_test in banks.values() for name, a in of_test.items() if not job.store.has(a)}
    taken_in = {t: {name: one.banks[t] for name, one in work.outside.items()} for t in work.tests}
    training = of_training(job, work)
    trained = {name for name, a in work.members.items() if job.store.has(a)}
    by_parts = job.plan.ensemble.domains != "none" or job.plan.ensemble.tracks != "none"
    found: list[PlannedResult] = []

    def add(address: Address, row: str, count: int, needed: bool) -> None:
        kept = job.store.has(address)
        if (kept or needed) and address.key not in {i.address.key for i in found}:
            found.append(PlannedResult(address, row, count, kept))

    untrained = {work.train_images[name].key for name in missing - trained}
    for address in work.train_images.values():
        add(address, "images", len(work.training.split), address.key in untrained)
    for test, of_members in work.test_images.items():
        unseen = {a.key for name, of in of_members.items() if not job.store.has(banks[test][name]) for a in of}
        for sides in of_members.values():
            for address, split in zip(sides, work.tests[test], strict=True):
                add(address, "images", len(split), address.key in unseen)
    for member in job.plan.members:
        if frozen := frozen_features_address(job, work, member):
            views = copies(job.plan.recipe_of(member))
            add(frozen, member.name, views * len(work.training.split), member.name in missing - trained)
    for name, address in work.members.items():
        add(address, name, len(work.training.split), name in missing)
    final: dict[str, dict[str, Address]] = {}
    for test, (query, gallery) in work.tests.items():
        n = len(query) + len(gallery)
        every = banks[test] | taken_in[test]
        for name, address in every.items():
            add(address, name, n, needed=True)
        white = where_whitened(job, work, test, every)
        if training:
            for name in work.members:
                learned_on = member_features_address(job, training, name, TRAIN)
                add(learned_on, name, len(work.training.split), needed=not job.store.has(white[name]))
        left_out = left_out_of(job.plan.competition.junk, query, gallery)
        fused = final[test] = expanded_addresses(job, test, white, left_out)
        for name, address in (*white.items(), *fused.items()):
            add(address, name, n, needed=True)
    for test, (query, gallery) in work.tests.items():
        learned = calibration_address(job, work, test, final[test], final.get(HOLDOUT, {}))
        if by_parts or (job.plan.ensemble.fusion == CALIBRATED and learned is None):
            continue  # the domains of the images, or the folds, are not known yet
        n, camids = len(query) + len(gallery), np.concatenate([query.camids, gallery.camids])
        left_out = left_out_of(job.plan.competition.junk, query, gallery)
        given = camids, rerank_groups(job.plan.ensemble, query, gallery), left_out, learned
        near, ranking = addresses_of(job, test, final[test], *given)
        if learned:
            add(learned, test, n, needed=not job.store.has(ranking))
        for address in near:
            add(address, test, n, needed=not job.store.has(ranking))
        add(ranking, test, n, needed=True)
    return found
