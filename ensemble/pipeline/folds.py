"""Out-of-fold features: each member is trained again without each fold of the training identities, and extracts them.

A fold's members are trained as those of the build, on fewer images. Their results have addresses of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.store.atomic_files import save_array
from configs.store.code_version import PROJECT, code_version
from configs.store.store import Address
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.run_stages import make_members
from ensemble.pipeline.stages import BuildPlan, decoded_images, features, images_of, member_addresses
from ensemble.results import cache_keys
from ensemble.results.build_record import FoldFeatures, TrainingFolds
from models.data.balance import balance
from models.data.batches import pack_joined
from models.data.heldout.folds import split_folds
from models.data.images import PLAIN
from models.data.near_duplicates import Hashes, hash_files, near_pairs
from models.data.pk_sampler import check_identities
from models.data.split import Split, make_split
from models.extraction.views import make_views, other_sizes

HASHES = "hashes.npy"
DATA = PROJECT / "models" / "data"
Rows = NDArray[np.intp]
Maker = Callable[[Path], None]


@dataclass(frozen=True)
class FoldPlan:
    """What the folds of a build are to make.

    Attributes:
        hashes: where the hashes of the training images lie.
        works: a plan per fold. Its test is the fold as a gallery without queries; its training images are the others.
        alike: identities that near-duplicates keep in the fold of another one.
    """

    hashes: Address
    works: tuple[BuildPlan, ...]
    alike: int


def plan_folds(context: BuildContext, plan: BuildPlan, count: int, *, keep: bool = True) -> FoldPlan:
    """Split the training identities, and name the address of everything.

    Args:
        plan: the build's plan, of one round.
        keep: write the hashes of the images to the store; a dry run does not.

    Raises:
        ConfigError: external members, several rounds, or a batch with more identities than a fold leaves.
        DataError: too few identities.
    """
    if plan.outside or not plan.members:
        raise ConfigError(
            f"--folds {count}: member {next(iter(plan.outside))!r} is a file, and cannot be trained without a fold. "
            "Leave it out, or --folds"
        )
    if context.config.ensemble.rounds > 1:
        raise ConfigError(f"--folds {count}: folds are for one round of training; leave out --rounds, or --folds")
    split = plan.training.split
    address, hashes = hash_images(context, plan, keep)
    pairs = near_pairs(hashes, split.pids)
    fold_of = split_folds(split.pids, pairs, count, context.config.recipe.seed)
    works = tuple(_plan_fold(context, plan, fold_of == fold, fold + 1, count) for fold in range(count))
    return FoldPlan(address, works, len(np.unique(split.pids[pairs])))


def with_plans(plan: BuildPlan, planned: FoldPlan | None) -> BuildPlan:
    """A build's plan that knows those of its folds."""
    return replace(plan, folds=planned.works) if planned else plan


def hash_images(context: BuildContext, plan: BuildPlan, keep: bool) -> tuple[Address, Hashes]:
    """The hashes of the training images, from the store if they are there."""
    split = plan.training.split
    contents = next(iter(plan.train_images.values())).request["contents"]
    code = code_version(*(DATA / f"{name}.py" for name in ("near_duplicates", "images", "mend")))
    address = Address("hashes", "train", {"contents": contents, "code": code})

    def make(folder: Path) -> None:
        save_array(folder / HASHES, hash_files(split.paths, context.progress))

    if not keep and not context.store.has(address):
        return address, hash_files(split.paths, context.progress)
    return address, np.load(context.store.get(address, make).path / HASHES)


def _plan_fold(context: BuildContext, plan: BuildPlan, out: NDArray[np.bool_], number: int, count: int) -> BuildPlan:
    """The plan of one fold. out: (N,) the training images that are in it."""
    recipe, split, name = context.config.recipe, plan.training.split, f"fold{number}of{count}"
    without, own = np.flatnonzero(~out), np.flatnonzero(out)
    training = balance(split.take(without), recipe.min_images, recipe.resample, recipe.seed)
    for member in context.config.members:
        check_identities(context.config.recipe_of(member).identities_per_batch, len(training.pids))
    nobody, fold = make_split([]), split.take(own)
    splits = dict(plan.splits)
    joined = dict(plan.joined)
    train_images = _taken(context, plan, without, training.split, splits, joined)
    images = _taken(context, plan, own, fold, splits, joined)
    views = make_views(context.config.ensemble.views, context.config.ensemble.flip)
    if any(
        other_sizes(views, context.config.recipe_of(m).size) for m in context.config.members
    ):  # which no training image is in
        viewed = images_of(context, name, fold, splits)
        images |= {member: address for member, address in viewed.items() if address.request.get("others")}
    none = images_of(context, "none", nobody, splits)
    return replace(
        plan,
        training=training,
        train_images=train_images,
        members=member_addresses(context, training, train_images),
        tests={name: (nobody, fold)},
        test_images={name: {member: (none[member], images[member]) for member in images}},
        splits=splits,
        joined=joined,
    )


def _taken(
    context: BuildContext, plan: BuildPlan, rows: Rows, split: Split, splits: dict[str, Split], joined: dict[str, Maker]
) -> dict[str, Address]:
    """Where these rows of the training images lie for each member; they are taken from the decoded images of all."""
    found = {}
    for member, listed in plan.train_images.items():
        contents = Address("", "", {"of": listed.digest, "rows": rows.tolist()}).digest
        how = listed.request["size"], listed.request.get("resampled", PLAIN)
        address = found[member] = cache_keys.images_address("train-part", contents, *how)
        splits[address.key], joined[address.key] = split, partial(_take, context, plan, listed, rows)
    return found


def _take(context: BuildContext, plan: BuildPlan, listed: Address, rows: Rows, folder: Path) -> None:
    pack_joined([(decoded_images(context, plan, listed)[0], rows)], folder)


def make_folds(context: BuildContext, fold_plan: FoldPlan) -> TrainingFolds:
    """Train the members without each fold, and extract its features, as far as they are not there."""
    made = []
    for number, plan in enumerate(fold_plan.works, 1):
        context.progress.say(describe_fold(plan, number, len(fold_plan.works)))
        make_members(context, plan)
        ((name, (_, fold)),) = plan.tests.items()
        banks = {m.name: features(context, plan, m, name).key for m in context.config.members}
        made.append(FoldFeatures(banks, fold.pids.tolist(), fold.camids.tolist()))
    return TrainingFolds(fold_plan.hashes.key, made)


def describe_fold(plan: BuildPlan, number: int, count: int) -> str:
    """One line of text: what is trained on, and what is left out."""
    ((_, fold),) = plan.tests.values()
    training = plan.training
    return (
        f"fold {number} of {count}: trains on {len(training.split):,} images of {len(training.pids):,} identities, "
        f"without {len(fold):,} of {len(set(fold.pids.tolist())):,}"
    )


def describe_folds(fold_plan: FoldPlan, kept: Sequence[str]) -> str:
    """A line per fold. kept: of each fold, which members are kept."""
    count = len(fold_plan.works)
    lines = [f"{describe_fold(plan, n, count)}; {kept[n - 1]}" for n, plan in enumerate(fold_plan.works, 1)]
    if fold_plan.alike:
        lines.append(
            f"{fold_plan.alike:,} identities have near-duplicates of one another and stay in one fold with these"
        )
    return "\n".join(lines)
