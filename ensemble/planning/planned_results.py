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


def list_planned_results(context: BuildContext, plan: BuildPlan) -> list[PlannedResult]:
    """The results of a build. Results that are not needed any more are listed only if they are cached."""
    banks = {
        t: {m.name: member_features_address(context, plan, m.name, t) for m in context.config.members}
        for t in plan.tests
    }
    missing = {name for of_test in banks.values() for name, a in of_test.items() if not context.store.has(a)}
    taken_in = {t: {name: one.banks[t] for name, one in plan.outside.items()} for t in plan.tests}
    training = of_training(context, plan)
    trained = {name for name, a in plan.members.items() if context.store.has(a)}
    by_parts = context.config.ensemble.domains != "none" or context.config.ensemble.tracks != "none"
    found: list[PlannedResult] = []

    def add(address: Address, row: str, count: int, needed: bool) -> None:
        kept = context.store.has(address)
        if (kept or needed) and address.key not in {i.address.key for i in found}:
            found.append(PlannedResult(address, row, count, kept))

    untrained = {plan.train_images[name].key for name in missing - trained}
    for address in plan.train_images.values():
        add(address, "images", len(plan.training.split), address.key in untrained)
    for test, of_members in plan.test_images.items():
        unseen = {a.key for name, of in of_members.items() if not context.store.has(banks[test][name]) for a in of}
        for sides in of_members.values():
            for address, split in zip(sides, plan.tests[test], strict=True):
                add(address, "images", len(split), address.key in unseen)
    for member in context.config.members:
        if frozen := frozen_features_address(context, plan, member):
            views = copies(context.config.recipe_of(member))
            add(frozen, member.name, views * len(plan.training.split), member.name in missing - trained)
    for name, address in plan.members.items():
        add(address, name, len(plan.training.split), name in missing)
    final: dict[str, dict[str, Address]] = {}
    for test, (query, gallery) in plan.tests.items():
        n = len(query) + len(gallery)
        every = banks[test] | taken_in[test]
        for name, address in every.items():
            add(address, name, n, needed=True)
        white = where_whitened(context, plan, test, every)
        if training:
            for name in plan.members:
                learned_on = member_features_address(context, training, name, TRAIN)
                add(learned_on, name, len(plan.training.split), needed=not context.store.has(white[name]))
        left_out = left_out_of(context.config.competition.junk, query, gallery)
        fused = final[test] = expanded_addresses(context, test, white, left_out)
        for name, address in (*white.items(), *fused.items()):
            add(address, name, n, needed=True)
    for test, (query, gallery) in plan.tests.items():
        learned = calibration_address(context, plan, test, final[test], final.get(HOLDOUT, {}))
        if by_parts or (context.config.ensemble.fusion == CALIBRATED and learned is None):
            continue  # the domains of the images, or the folds, are not known yet
        n, camids = len(query) + len(gallery), np.concatenate([query.camids, gallery.camids])
        left_out = left_out_of(context.config.competition.junk, query, gallery)
        given = camids, rerank_groups(context.config.ensemble, query, gallery), left_out, learned
        near, ranking = addresses_of(context, test, final[test], *given)
        if learned:
            add(learned, test, n, needed=not context.store.has(ranking))
        for address in near:
            add(address, test, n, needed=not context.store.has(ranking))
        add(ranking, test, n, needed=True)
    return found
