"""The images that a round labels, and how they join the labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.store.store import Address
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, decoded_images, images_of, member_addresses
from ensemble.results import cache_keys
from models.data.balance import balance
from models.data.batches import pack_joined
from models.data.images import PLAIN
from models.data.split import Benchmark, Split, join, make_split

UNLABELLED = "unlabelled"
TEST = "test"
GUESSED = "guessed"


@dataclass(frozen=True)
class UnlabelledPool:
    """Lists to label: the unlabelled images as a gallery without queries, and perhaps a test.

    Attributes:
        images: addresses of each test's decoded images, by member.
        split: all images in the order of their features, named such as `unlabelled/0001.jpg`.
    """

    tests: dict[str, tuple[Split, Split]]
    images: dict[str, dict[str, tuple[Address, Address]]]
    split: Split

    def within(self, plan: BuildPlan) -> BuildPlan:
        """The same plan with these lists as its tests."""
        held = {
            address.key: split
            for test, sides in self.tests.items()
            for of_member in self.images[test].values()
            for address, split in zip(of_member, sides, strict=True)
        }
        return replace(plan, tests=self.tests, test_images=self.images, splits=plan.splits | held, outside={})

    def parts(self, rows: NDArray[np.intp], member: str) -> list[tuple[Address, NDArray[np.intp]]]:
        """Rows of `split` as rows of each list, in a member's size."""
        every = [(a, len(s)) for t in self.tests for a, s in zip(self.images[t][member], self.tests[t], strict=True)]
        bounds = pairwise(np.cumsum([0, *(count for _, count in every)]).tolist())
        cut = [
            (a, rows[(rows >= low) & (rows < high)] - low) for (a, _), (low, high) in zip(every, bounds, strict=True)
        ]
        return [(address, own) for address, own in cut if len(own)]


def unlabelled_pool(context: BuildContext, plan: BuildPlan, benchmark: Benchmark) -> UnlabelledPool:
    """The unlabelled images, and with `pseudo.test` query and gallery.

    Raises:
        ConfigError: no images, or fewer images than groups of `clusters`.
    """
    how = context.config.ensemble.pseudo
    if not plan.members:
        raise ConfigError(f"{context.config.ensemble.rounds} rounds: every member is external, nothing is trained")
    tests = {}
    images = {}
    lists = {}
    if len(benchmark.unlabelled):
        tests[UNLABELLED] = make_split([]), benchmark.unlabelled
        none, some = (images_of(context, UNLABELLED, split, {}) for split in tests[UNLABELLED])
        images[UNLABELLED] = {name: (none[name], some[name]) for name in plan.members}
        lists[UNLABELLED] = benchmark.unlabelled
    if how.test:
        tests[TEST], images[TEST] = plan.tests[TEST], plan.test_images[TEST]
        lists |= dict(zip(("query", "gallery"), plan.tests[TEST], strict=True))
    if not lists:
        raise ConfigError(
            f"{context.config.ensemble.rounds} rounds: {benchmark.root} has no unlabelled images. --set "
            "ensemble.pseudo.test=true labels query and gallery, which some competitions forbid; --rounds 1 trains once"
        )
    pool = UnlabelledPool(tests, images, join(lists))
    if how.method == "clusters" and how.groups > len(pool.split):
        most = len(pool.split)
        raise ConfigError(
            f"clusters: {how.groups} groups of {most} images to label; --set ensemble.pseudo.groups={most} or less"
        )
    return pool


def plan_with_pseudo_labels(
    context: BuildContext, first: BuildPlan, pool: UnlabelledPool, number: int, labels: NDArray[np.int64]
) -> BuildPlan:
    """The plan of round `number`: the labelled images, and the pool's images whose group is large enough.

    Args:
        labels: (N,) of the pool's images, -1 for none. Groups become identities above all known ones.

    Raises:
        ConfigError: no group has `recipe.min_images` images.
    """
    recipe = context.config.recipe
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    rows = np.flatnonzero((labels >= 0) & (sizes[labels] >= recipe.min_images))
    if not len(rows):
        raise ConfigError(
            f"round {number}: none of {len(sizes)} groups has recipe.min_images = {recipe.min_images} images; make "
            "larger or fewer groups (--set ensemble.pseudo.threshold=..., eps=... or groups=...)"
        )
    known, guessed = first.training.split, pool.split.take(rows)
    guessed = replace(guessed, pids=int(known.pids.max()) + 1 + labels[rows])
    training = balance(join({"": known, GUESSED: guessed}), recipe.min_images, recipe.resample, recipe.seed)
    source = pool.within(first)
    images = {}
    makers = {}
    for member, listed in first.train_images.items():
        parts = [(listed, np.arange(len(known))), *pool.parts(rows, member)]
        contents = Address("", "", {"parts": [[a.digest, r.tolist()] for a, r in parts]}).digest
        how = listed.request["size"], listed.request.get("resampled", PLAIN)
        images[member] = cache_keys.images_address(f"train-{number}", contents, *how)
        makers[images[member].key] = partial(_join, context, source, parts)
    return replace(
        first,
        training=training,
        train_images=images,
        members=member_addresses(context, training, images),
        splits=first.splits | dict.fromkeys(makers, training.split),
        joined=first.joined | makers,
    )


def _join(
    context: BuildContext, source: BuildPlan, parts: Sequence[tuple[Address, NDArray[np.intp]]], folder: Path
) -> None:
    """Pack rows of lists that are packed already."""
    pack_joined([(decoded_images(context, source, address)[0], own) for address, own in parts], folder)
