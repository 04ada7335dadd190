"""Rounds of training: the ensemble labels the unlabelled images, and is trained again with them.

Each round's labels and report are cached, so a killed build resumes, and another threshold does not repeat round 1.
Every round starts from the same initial weights as the first, and labels all images again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.store.store import Address
from ensemble.features.feature_bank import open_banks
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.run_stages import make_members
from ensemble.pipeline.stages import BuildPlan, features, member_features_address
from ensemble.planning.build_cost import BuildCost, combined_cost, estimate_build_cost, estimate_cost
from ensemble.planning.monitor import update_stages
from ensemble.planning.planned_results import list_planned_results
from ensemble.planning.summary import kept_members
from ensemble.pseudo.labelling import find_groups
from ensemble.pseudo.report import as_csv, as_json, describe_round, read_csv, score_round
from ensemble.pseudo.unlabelled_pool import UnlabelledPool, plan_with_pseudo_labels, unlabelled_pool
from ensemble.rerank.k_reciprocal_encoding import KReciprocal
from ensemble.results import cache_keys
from ensemble.results.pseudo_settings import say_settings, settings_of
from models.data.split import Benchmark, label_digest

LABELS, REPORT = "labels.csv", "report.json"
FOR_LABELS = ("images", "frozen", "members", "features")  # results that labelling needs: no ranking


def run_rounds(context: BuildContext, plan: BuildPlan, benchmark: Benchmark) -> tuple[BuildPlan, list[dict[str, Any]]]:
    """Run all rounds but the last. Returns the plan of the last round, and a report of each round's labels.

    Raises:
        ConfigError: there is nothing to label, or the settings label no image.
    """
    if context.config.ensemble.rounds == 1:
        return plan, []
    first, reports = plan, []
    pool = unlabelled_pool(context, first, benchmark)
    for number in range(2, context.config.ensemble.rounds + 1):
        address = label(context, pool, plan, number)
        plan = plan_with_pseudo_labels(context, first, pool, number, read_labels(context.store.path(address)))
        update_stages(context, cost_of_rounds(context, first, pool, plan, number))
        reports.append(report_of(context, address, number, len(plan.training.split) - len(first.training.split)))
        context.progress.say(say_round(context, pool, address, plan, number))
    return plan, reports


def describe_rounds(context: BuildContext, plan: BuildPlan, benchmark: Benchmark) -> tuple[BuildPlan, BuildCost, str]:
    """The last known round's plan, the cost to the end, and a text on what the rounds will do."""
    if context.config.ensemble.rounds == 1:
        return plan, estimate_build_cost(context, plan), ""
    pool = unlabelled_pool(context, plan, benchmark)
    first = plan
    lines = []
    for number in range(2, context.config.ensemble.rounds + 1):
        lines.append(f"round {number - 1}: {kept_members(context, pool.within(plan))}")
        address = labels_address(context, pool, plan, number)
        if not context.store.has(address):
            how = say_settings(context.config.ensemble.pseudo)
            lines.append(
                f"round {number}: labels {len(pool.split):,} images{_of_test(context)} by {how}, and trains again with "
                "them; the cost assumes that all of them get a label; what is cached is known only then"
            )
            return plan, cost_of_rounds(context, first, pool, plan, number - 1), "\n".join(lines)
        plan = plan_with_pseudo_labels(context, first, pool, number, read_labels(context.store.path(address)))
        lines.append(say_round(context, pool, address, plan, number))
    lines.append(f"round {context.config.ensemble.rounds}: {kept_members(context, plan)}")
    return plan, estimate_build_cost(context, plan), "\n".join(lines)


def labels_address(context: BuildContext, pool: UnlabelledPool, plan: BuildPlan, number: int) -> Address:
    """The address of the labels for round `number`, made by the members of `plan`."""
    e, within = context.config.ensemble, pool.within(plan)
    banks = {
        m.name: [member_features_address(context, within, m.name, test).digest for test in pool.tests]
        for m in context.config.members
    }
    request = {
        "banks": banks,
        "weights": [e.weights.get(name, 1.0) for name in banks],
        "pseudo": settings_of(e),
        "seed": context.config.recipe.seed,
        "known": label_digest(pool.split),  # the report uses them
        "code": cache_keys.retrieval_code(Path(__file__).parent),
    }
    return Address("rounds", f"round-{number}", request)


def label(context: BuildContext, pool: UnlabelledPool, plan: BuildPlan, number: int) -> Address:
    """Label the images with the members of the previous round, unless cached."""
    address = labels_address(context, pool, plan, number)
    e = context.config.ensemble
    within = pool.within(plan)

    def make(folder: Path) -> None:
        make_members(context, within)
        keys = [{m.name: features(context, within, m, test).key for m in context.config.members} for test in pool.tests]
        banks = [open_banks(context.store, of_test) for of_test in keys]
        feats = [_whole([bank.feats for bank in of_member]) for of_member in zip(*banks, strict=True)]
        weights = [e.weights.get(m.name, 1.0) for m in context.config.members]
        context.progress.say(f"round {number}: labelling {len(pool.split):,} images by {say_settings(e.pseudo)}")
        how = KReciprocal(**e.k_reciprocal)
        labels = find_groups(
            e.pseudo, feats, weights, rerank=how, seed=context.config.recipe.seed, device=context.device
        )
        (folder / LABELS).write_text(as_csv(pool.split.names, labels), encoding="utf-8")
        report = as_json(e.pseudo.method, score_round(labels, pool.split.pids))
        (folder / REPORT).write_text(report, encoding="utf-8")

    context.store.get(address, make)
    return address


def read_labels(folder: Path) -> NDArray[np.int64]:
    """The (N,) labels of a round."""
    return read_csv((folder / LABELS).read_text(encoding="utf-8"))[1]


def report_of(context: BuildContext, address: Address, number: int, joined: int) -> dict[str, Any]:
    """A round's entry in the build record: its report, the settings, and how many images joined."""
    how = context.config.ensemble.pseudo
    said = {"round": number, "labels": address.key, "settings": say_settings(how), "test_images": how.test}
    report: dict[str, Any] = json.loads((context.store.path(address) / REPORT).read_text(encoding="utf-8"))
    return said | {"joined": joined} | report


def say_round(context: BuildContext, pool: UnlabelledPool, address: Address, plan: BuildPlan, number: int) -> str:
    """One line of text: the report of the labels, and the images to train on."""
    scored = score_round(read_labels(context.store.path(address)), pool.split.pids)
    training = plan.training
    return (
        f"round {number}: {describe_round(scored)}{_of_test(context)}; trains on {len(training.split):,} images of "
        f"{len(training.pids):,} identities"
    )


def _of_test(context: BuildContext) -> str:
    return " (test images among them)" if context.config.ensemble.pseudo.test else ""


def _whole(parts: list[NDArray]) -> NDArray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def cost_of_rounds(
    context: BuildContext, first: BuildPlan, pool: UnlabelledPool, plan: BuildPlan, number: int
) -> BuildCost:
    """Cost of rounds `number` and later. Assumes that all images get a label, since no later labels exist yet.

    Labels come from the extracted features: only the last round whitens.
    """
    ahead = []
    config = context.config
    bare = config.ensemble.model_copy(update={"whiten": None})
    labelling = replace(context, config=config.model_copy(update={"ensemble": bare}))
    for following in range(number + 1, context.config.ensemble.rounds + 1):
        within = pool.within(plan)
        items = [i for i in list_planned_results(labelling, within) if i.kind in FOR_LABELS and i.count]
        ahead.append(estimate_cost(context, within, items))
        plan = plan_if_all_join(context, first, pool, following)
    return combined_cost([*ahead, estimate_build_cost(context, plan)])


def plan_if_all_join(context: BuildContext, first: BuildPlan, pool: UnlabelledPool, number: int) -> BuildPlan:
    """A round's plan if all images joined, in groups of the size of a known identity."""
    n, least = len(pool.split), context.config.recipe.min_images
    if n < least:
        return first
    size = max(least, round(len(first.training.split) / len(first.training.pids)))
    labels = np.minimum(np.arange(n) // size, max(0, n // size - 1))  # the last group has the remainder
    # the grouping differs between rounds
    return plan_with_pseudo_labels(context, first, pool, number, np.roll(labels, number))
