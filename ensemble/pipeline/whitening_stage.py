"""The stage between extraction and averaging: each member's features whitened, and kept under their own addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.errors import ConfigError
from configs.store.store import Address
from ensemble.features.feature_bank import FeatureBank, feature_arrays, load_bank, save_bank
from ensemble.pipeline import stages
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.groups import groups_of, groups_request
from ensemble.pipeline.stages import BuildPlan
from ensemble.rerank import whitening
from ensemble.results import cache_keys
from ensemble.results.left_out import left_out_of
from models.data.split import make_split

TRAIN = "train"
SAID = {"train": "the training images", "test": "query and gallery"}


def of_training(context: BuildContext, plan: BuildPlan) -> BuildPlan | None:
    """The training images as a test that asks nothing, whose features are taken; None where nobody needs them."""
    how, listed = context.config.ensemble.whiten, plan.train_images
    if how is None or how.name != "train" or not listed:
        return None
    nobody, splits = make_split([]), dict(plan.splits)
    none = stages.images_of(context, "none", nobody, splits)
    viewed = stages.images_of(context, TRAIN, plan.training.split, splits)
    some = {m: viewed[m] if viewed[m].request.get("others") else listed[m] for m in listed}
    images = {TRAIN: {member: (none[member], some[member]) for member in listed}}
    return replace(plan, tests={TRAIN: (nobody, plan.training.split)}, test_images=images, splits=splits, outside={})


def where_whitened(
    context: BuildContext, plan: BuildPlan, test: str, addressed: Mapping[str, Address]
) -> dict[str, Address]:
    """Where the members' whitened features lie; those given where no whitening is asked for."""
    settings, training = context.config.ensemble, of_training(context, plan)
    if settings.whiten is None:
        return dict(addressed)
    splits = [*plan.tests[test], *(training.tests[TRAIN][1:] if training else ())]
    groups, out = groups_request(settings, splits), {}
    left_out = left_out_of(context.config.competition.junk, *plan.tests[test])
    for name, bank in addressed.items():
        train = stages.member_features_address(context, training, name, TRAIN) if training else None
        out[name] = cache_keys.whitened_address(test, name, bank, train, settings.whiten, groups, left_out)
    return out


def whitened(context: BuildContext, plan: BuildPlan, test: str, addressed: Mapping[str, Address]) -> dict[str, Address]:
    """The members' whitened features, made where they are not there; those given where no whitening is asked for."""
    out = where_whitened(context, plan, test, addressed)
    if context.config.ensemble.whiten is None:
        return out
    for name, address in out.items():

        def make(folder: Path, name: str = name) -> None:
            key = addressed[name].key
            whiten(context, plan, test, load_bank(name, context.store.open(key), key), folder)

        context.store.get(address, make)
    return out


def whiten(context: BuildContext, plan: BuildPlan, test: str, bank: FeatureBank, folder: Path) -> None:
    """Whiten one member's features of a test.

    Raises:
        ConfigError: the features do not vary, an image lies on its group's mean, or that mean was not learned.
    """
    how = context.config.ensemble.whiten
    if how is None:
        raise ValueError("no whitening is asked for")
    (feats,), training = feature_arrays([bank], "whitening (ensemble.whiten)"), of_training(context, plan)
    groups = groups_of(context, [f"{test}-query", f"{test}-gallery"], plan.tests[test])
    learn_on, learn_groups = feats, groups
    left_out = left_out_of(context.config.competition.junk, *plan.tests[test])
    if left_out is not None and left_out.overlaps:  # an image of both lists counts once
        rows = left_out.union(len(feats)).rows
        learn_on, learn_groups = feats[rows], None if groups is None else np.asarray(groups)[rows].tolist()
    if training:
        member = next(m for m in context.config.members if m.name == bank.member)
        key = stages.features(context, training, member, TRAIN).key
        (learn_on,) = feature_arrays(
            [load_bank(bank.member, context.store.open(key), key)], "whitening (ensemble.whiten)"
        )
        learn_groups = groups_of(context, [TRAIN], training.tests[TRAIN][1:])
    try:
        learned = whitening.learn(learn_on, learn_groups, shrinkage=how.shrinkage)
        out = learned.apply(feats, groups)
    except ValueError as e:
        hint = "" if how.center == "none" else f"; ensemble.whiten.center={how.center} can be left out"
        raise ConfigError(f"ensemble.whiten, member {bank.member!r}: {e}{hint}") from e
    context.progress.say(f"{bank.member}, {test}: whitened by {SAID[how.name]}: {learned.describe()}")
    save_bank(folder, out, bank.query_names, bank.gallery_names)
