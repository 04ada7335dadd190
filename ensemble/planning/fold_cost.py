"""What the folds of a build will need, and what of it is kept."""

from __future__ import annotations

from dataclasses import replace

from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.folds import FoldPlan, describe_folds
from ensemble.pipeline.stages import BuildPlan
from ensemble.planning.build_cost import BuildCost, combined_cost, estimate_cost
from ensemble.planning.planned_results import PlannedResult, list_planned_results
from ensemble.planning.summary import kept_members

MADE_OF_A_FOLD = ("images", "members", "features")


def with_folds(context: BuildContext, plan: BuildPlan, fold_plan: FoldPlan, needs: BuildCost) -> tuple[BuildCost, str]:
    """The needs of a build with those of its folds, and a text on what the folds will do.

    Args:
        plan: the build's plan. needs: of the build without folds.
    """
    bare = context.config.ensemble.model_copy(update={"whiten": None, "expand": None})
    extracting = replace(context, config=context.config.model_copy(update={"ensemble": bare}))
    parts, listed = [needs], {need.item.address.key for need in needs.needs}
    for fold in fold_plan.works:
        items = [i for i in list_planned_results(extracting, fold) if i.kind in MADE_OF_A_FOLD and i.count]
        packs = {a.key: a for a in plan.train_images.values()} if _takes_images(items) else {}
        for key, address in packs.items():  # a fold's images are taken from those of all
            if key not in listed and not context.store.has(address):
                items.insert(0, PlannedResult(address, "images", len(plan.training.split), kept=False))
        parts.append(estimate_cost(context, fold, items))
    return combined_cost(parts), describe_folds(fold_plan, [kept_members(context, fold) for fold in fold_plan.works])


def _takes_images(items: list[PlannedResult]) -> bool:
    return any(item.kind == "images" and not item.kept for item in items)
