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


def plan_folds(job: BuildContext, work: BuildPlan, count: int, *, keep: bool = True) -> FoldPlan:
    """Split the training identities, and name the address of everything.

    Args:
        work: the build's plan, of one round.
        keep: write the hashes of the images to the store; a dry run does not.

    Raises:
        ConfigError: external members, several rounds, or a batch with more identities than a fold leaves.
        DataError: too few identities.
    """
    if work.outside or not work.members:
        raise ConfigError(
            f"--folds {count}: member {next(iter(work.outside))!r} is a file, and cannot be trained without a fold. "
            "Leave it out, or --folds"
        )
    if job.plan.ensemble.rounds > 1:
        raise ConfigError(f"--folds {count}: folds are for one round of training; leave out --rounds, or --folds")
    split = work.training.split
    address, hashes = hash_images(job, work, keep)
    pairs = near_pairs(hashes, split.pids)
    fold_of = split_folds(split.pids, pairs, count, job.plan.recipe.seed)
    works = tuple(_plan_fold(job, work, fold_of == fold, fold + 1, count) for fold in range(count))
    return FoldPlan(address, works, len(np.unique(split.pids[pairs])))


def with_plans(work: BuildPlan, planned: FoldPlan | None) -> BuildPlan:
    """A build's plan that knows those of its folds."""
    return replace(work, folds=planned.works) if planned else work


def hash_images(job: BuildContext, work: BuildPlan, keep: bool) -> tuple[Address, Hashes]:
    """The hashes of the training images, from the store if they are there."""
    split = work.training.split
    contents = next(iter(work.train_images.values())).request["contents"]
    code = code_version(*(DATA / f"{name}.py" for name in ("near_duplicates", "images", "mend")))
    address = Address("hashes", "train", {"contents": contents, "code": code})

    def make(folder: Path) -> None:
        save_array(folder / HASHES, hash_files(split.paths, job.progress))

    if not keep and not job.store.has(address):
        return address, hash_files(split.paths, job.progress)
    return address, np.load(job.store.get(address, make).path / HASHES)


def _plan_fold(job: BuildContext, work: BuildPlan, out: NDArray[np.bool_], number: int, count: int) -> BuildPlan:
    """The plan of one fold. out: (N,) the training images that are in it."""
    recipe, split, name = job.plan.recipe, work.training.split, f"fold{number}of{count}"
    without, own = np.flatnonzero(~out), np.flatnonzero(out)
    training = balance(split.take(without), recipe.min_images, recipe.resample, recipe.seed)
    for member in job.plan.members:
        check_identities(job.plan.recipe_of(member).identities_per_batch, len(training.pids))
    nobody, fold = make_split([]), split.take(own)
    splits = dict(work.splits)
    joined = dict(work.joined)
    train_images = _taken(job, work, without, training.split, splits, joined)
    images = _taken(job, work, own, fold, splits, joined)
    views = make_views(job.plan.ensemble.views, job.plan.ensemble.flip)
    if any(other_sizes(views, job.plan.recipe_of(m).size) for m in job.plan.members):  # which no training image is in
        viewed = images_of(job, name, fold, splits)
        images |= {member: address for member, address in viewed.items() if address.request.get("others")}
    none = images_of(job, "none", nobody, splits)
    return replace(
        work,
        training=training,
        train_images=train_images,
        members=member_addresses(job, training, train_images),
        tests={name: (nobody, fold)},
        test_images={name: {member: (none[member], images[member]) for member in images}},
        splits=splits,
        joined=joined,
    )


def _taken(
    job: BuildContext, work: BuildPlan, rows: Rows, split: Split, splits: dict[str, Split], joined: dict[str, Maker]
) -> dict[str, Address]:
    """Where these rows of the training images lie for each member; they are taken from the decoded images of all."""
    found = {}
    for member, listed in work.train_images.items():
        contents = Address("", "", {"of": listed.digest, "rows": rows.tolist()}).digest
        how = listed.request["size"], listed.request.get("resampled", PLAIN)
        address = found[member] = cache_keys.images_address("train-part", contents, *how)
        splits[address.key], joined[address.key] = split, partial(_take, job, work, listed, rows)
    return found


def _take(job: BuildContext, work: BuildPlan, listed: Address, rows: Rows, folder: Path) -> None:
    pack_joined([(decoded_images(job, work, listed)[0], rows)], folder)


def make_folds(job: BuildContext, plan: FoldPlan) -> TrainingFolds:
    """Train the members without each fold, and extract its features, as far as they are not there."""
    made = []
    for number, work in enumerate(plan.works, 1):
        job.progress.say(describe_fold(work, number, len(plan.works)))
        make_members(job, work)
        ((name, (_, fold)),) = work.tests.items()
        banks = {m.name: features(job, work, m, name).key for m in job.plan.members}
        made.append(FoldFeatures(banks, fold.pids.tolist(), fold.camids.tolist()))
    return TrainingFolds(plan.hashes.key, made)


def describe_fold(work: BuildPlan, number: int, count: int) -> str:
    """One line of text: what is trained on, and what is left out."""
    ((_, fold),) = work.tests.values()
    training = work.training
    return (
        f"fold {number} of {count}: trains on {len(training.split):,} images of {len(training.pids):,} identities, "
        f"without {len(fold):,} of {len(set(fold.pids.tolist())):,}"
    )


def describe_folds(plan: FoldPlan, kept: Sequence[str]) -> str:
    """A line per fold. kept: of each fold, which members are kept."""
    count = len(plan.works)
    lines = [f"{describe_fold(work, n, count)}; {kept[n - 1]}" for n, work in enumerate(plan.works, 1)]
    if plan.alike:
        lines.append(f"{plan.alike:,} identities have near-duplicates of one another and stay in one fold with these")
    return "\n".join(lines)
