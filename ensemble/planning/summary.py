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


def describe(job: BuildContext, work: BuildPlan) -> str:
    """A summary of a few lines."""
    lines = _training(job, work)
    for test, (query, gallery) in work.tests.items():
        known = "identities known"
        if not scorable(query, gallery, job.plan.competition.junk):
            junk = job.plan.competition.junk
            found = NOTHING if junk == SAME_CAM else LEFT_OUT.format(junk)
            known = found if scorable(query, gallery) else "no identities"
        lines.append(f"{test} {len(query):,} queries x {len(gallery):,} gallery images, {known}")
        left_out = left_out_of(job.plan.competition.junk, query, gallery)
        shorter = min(left_out.length(None) if left_out else len(gallery), job.plan.competition.top_k)
        if shorter < job.plan.competition.top_k:
            lines.append(f"note: lists of {shorter}, not {job.plan.competition.top_k}: the gallery has no more")
    lines.append(kept_members(job, work))
    items = list_planned_results(job, work)
    lines += [f"  {line}" for line in reasons(job.store, items)]
    return "\n".join(lines)


def kept_members(job: BuildContext, work: BuildPlan) -> str:
    """Which members are cached: `kept: r50; to make: ibn_a`."""
    kept: list[str] = []
    left: list[str] = []
    for member in job.plan.members:
        there = all(job.store.has(member_features_address(job, work, member.name, test)) for test in work.tests)
        (kept if there else left).append(member.name)
    for name, incoming in work.outside.items():
        there = all(job.store.has(address) for address in incoming.banks.values())
        (kept if there else left).append(name)
    return f"kept: {', '.join(kept) or 'none'}; to make: {', '.join(left) or 'none'}"


def _training(job: BuildContext, work: BuildPlan) -> list[str]:
    """The training images, the epochs and the learning rate."""
    if not work.members:
        return ["nothing to train: every member is from outside"]
    recipe = job.plan.recipe
    height, width = recipe.size
    shared = (
        f"train {len(work.training.split):,} images of {len(work.training.pids):,} identities, {height}x{width}, "
        f"{recipe.epochs} epochs, {_rates(recipe)}"
    )
    return [
        *unweighted(job.plan),
        shared,
        *(f"  {line}" for member in job.plan.members if (line := own_settings(job.plan, member))),
    ]


def unweighted(plan: BuildConfig) -> list[str]:
    """A note if members start from random weights but the recipe is for ImageNet weights; else an empty list."""
    names = [m.name for m in plan.members if m.weights is None and plan.recipe_of(m).pretrained]
    if not names:
        return []
    own = set_option(f"members.{names[0]}.recipe", {"pretrained": False})
    way = "--recipe scratch" if len(names) == len(plan.members) else f"{own}, with what else it wants to itself"
    file = set_option(f"members.{names[0]}.weights", {"file": "FILE"})
    return [
        f"note: configs/members.yaml names no weights for {', '.join(names)}: they start from random ones, and this "
        f"recipe (recipe.pretrained) is for ImageNet weights. For random ones there is {way}; for a file {file}"
    ]


def own_settings(plan: BuildConfig, member: Member) -> str:
    """A member's own settings: its timm model, and where it differs from the shared recipe."""
    told = [f"timm's {member.backbone.options['model']}"] if member.backbone.name == "timm" else []
    own, shared = (recipe.model_dump(mode="json") for recipe in (plan.recipe_of(member), plan.recipe))
    told += [f"{key} {json.dumps(value)}" for key, value in own.items() if value != shared[key]]
    if (how := resampling(member)) != PLAIN:
        told.append(f"images resized {how}")
    return f"{member.name}: {', '.join(told)}" if told else ""


def _rates(recipe: Recipe) -> str:
    """The learning rate at five times."""
    rate, base = make_schedule(recipe), float(recipe.optimizer.options.get("lr", 1e-3))
    points = [recipe.epochs * share for share in (0.05, 0.25, 0.5, 0.75, 1.0)]
    return "rate " + ", ".join(f"{base * rate(t):.1e} at {t:g}" for t in points)
