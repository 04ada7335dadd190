"""Describe a build before it starts: numbers of images, cached results, and the learning rate."""

from __future__ import annotations

import json

from configs.console.quoting import set_option
from configs.schema import JUNK_RULES, BuildConfig, Member, Recipe
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, member_features_address
from ensemble.planning.planned_results import list_planned_results
from ensemble.planning.rebuild_reasons import reasons
from ensemble.results.left_out import left_out_of
from models.data.images import PLAIN
from models.data.split import scorable
from models.registry import make_schedule, resampling

NOTHING = "nothing to score: all right images are of their query's own camera (--set competition.junk=none counts them)"
SAME_CAM = JUNK_RULES[1]
LEFT_OUT = "nothing to score: the rules {} leave out all right images"


def describe(context: BuildContext, plan: BuildPlan) -> str:
    """A summary of a few lines."""
    lines = _training(context, plan)
    for test, (query, gallery) in plan.tests.items():
        known = "identities known"
        if not scorable(query, gallery, context.config.competition.junk):
            junk = context.config.competition.junk
            found = NOTHING if junk == SAME_CAM else LEFT_OUT.format(junk)
            known = found if scorable(query, gallery) else "no identities"
        lines.append(f"{test} {len(query):,} queries x {len(gallery):,} gallery images, {known}")
        left_out = left_out_of(context.config.competition.junk, query, gallery)
        shorter = min(left_out.length(None) if left_out else len(gallery), context.config.competition.top_k)
        if shorter < context.config.competition.top_k:
            lines.append(f"note: lists of {shorter}, not {context.config.competition.top_k}: the gallery has no more")
    lines.append(kept_members(context, plan))
    items = list_planned_results(context, plan)
    lines += [f"  {line}" for line in reasons(context.store, items)]
    return "\n".join(lines)


def kept_members(context: BuildContext, plan: BuildPlan) -> str:
    """Which members are cached: `kept: r50; to make: ibn_a`."""
    kept: list[str] = []
    left: list[str] = []
    for member in context.config.members:
        cached = all(
            context.store.has(member_features_address(context, plan, member.name, test)) for test in plan.tests
        )
        (kept if cached else left).append(member.name)
    for name, incoming in plan.outside.items():
        cached = all(context.store.has(address) for address in incoming.banks.values())
        (kept if cached else left).append(name)
    return f"kept: {', '.join(kept) or 'none'}; to make: {', '.join(left) or 'none'}"


def _training(context: BuildContext, plan: BuildPlan) -> list[str]:
    """The training images, the epochs and the learning rate."""
    if not plan.members:
        return ["nothing to train: every member is from outside"]
    recipe = context.config.recipe
    height, width = recipe.size
    shared = (
        f"train {len(plan.training.split):,} images of {len(plan.training.pids):,} identities, {height}x{width}, "
        f"{recipe.epochs} epochs, {_rates(recipe)}"
    )
    return [
        *unweighted(context.config),
        shared,
        *(f"  {line}" for member in context.config.members if (line := own_settings(context.config, member))),
    ]


def unweighted(config: BuildConfig) -> list[str]:
    """A note if members start from random weights but the recipe is for ImageNet weights; else an empty list."""
    names = [m.name for m in config.members if m.weights is None and config.recipe_of(m).pretrained]
    if not names:
        return []
    own = set_option(f"members.{names[0]}.recipe", {"pretrained": False})
    way = (
        "--recipe scratch"
        if len(names) == len(config.members)
        else f"{own}, and more keys of its own recipe where needed"
    )
    file = set_option(f"members.{names[0]}.weights", {"file": "FILE"})
    return [
        f"note: configs/members.yaml names no weights for {', '.join(names)}: they start from random ones, and this "
        f"recipe (recipe.pretrained) is for ImageNet weights. For random ones there is {way}; for a file {file}"
    ]


def own_settings(config: BuildConfig, member: Member) -> str:
    """A member's own settings: its timm model, and where it differs from the shared recipe."""
    parts = [f"timm's {member.backbone.options['model']}"] if member.backbone.name == "timm" else []
    own, shared = (recipe.model_dump(mode="json") for recipe in (config.recipe_of(member), config.recipe))
    parts += [f"{key} {json.dumps(value)}" for key, value in own.items() if value != shared[key]]
    if (how := resampling(member)) != PLAIN:
        parts.append(f"images resized {how}")
    return f"{member.name}: {', '.join(parts)}" if parts else ""


def _rates(recipe: Recipe) -> str:
    """The learning rate at five times."""
    rate, base = make_schedule(recipe), float(recipe.optimizer.options.get("lr", 1e-3))
    points = [recipe.epochs * share for share in (0.05, 0.25, 0.5, 0.75, 1.0)]
    return "rate " + ", ".join(f"{base * rate(t):.1e} at {t:g}" for t in points)
