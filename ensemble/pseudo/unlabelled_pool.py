"""The images that a round labels, and how they join the labelled images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.store.store import Address
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, decoded_images, member_addresses
from ensemble.results import cache_keys
from models.data.balance import balance
from models.data.batches import pack_joined
from models.data.split import Benchmark, Split, content_digest, join, make_split

UNLABELLED, TEST, GUESSED = "unlabelled", "test", "guessed"


@dataclass(frozen=True)
class UnlabelledPool:
    """Lists to label: the unlabelled images as a gallery without queries, and perhaps a test.

    Attributes:
        split: all images in the order of their features, named such as `unlabelled/0001.jpg`.
    """

    tests: dict[str, tuple[Split, Split]]
    images: dict[str, tuple[Address, Address]]
    split: Split

    def within(self, work: BuildPlan) -> BuildPlan:
        """The same plan with these lists as its tests."""
        held = {a.key: s for t in self.tests for a, s in zip(self.images[t], self.tests[t], strict=True)}
        return replace(work, tests=self.tests, test_images=self.images, splits=work.splits | held, outside={})

    def parts(self, rows: NDArray[np.intp]) -> list[tuple[Address, NDArray[np.intp]]]:
        """Rows of `split` as rows of each list."""
        every = [(a, len(s)) for t in self.tests for a, s in zip(self.images[t], self.tests[t], strict=True)]
        bounds = pairwise(np.cumsum([0, *(count for _, count in every)]).tolist())
        cut = [
            (a, rows[(rows >= low) & (rows < high)] - low) for (a, _), (low, high) in zip(every, bounds, strict=True)
        ]
        return [(address, own) for address, own in cut if len(own)]


def unlabelled_pool(job: BuildContext, work: BuildPlan, benchmark: Benchmark) -> UnlabelledPool:
    """The unlabelled images, and with `pseudo.test` query and gallery.

    Raises:
        ConfigError: no images, or fewer images than groups of `clusters`.
    """
    how, size = job.plan.ensemble.pseudo, job.plan.recipe.size
    if not work.members:
        raise ConfigError(f"{job.plan.ensemble.rounds} rounds: every member is external, nothing is trained")
    tests, images, lists = {}, {}, {}
    if len(benchmark.unlabelled):
        tests[UNLABELLED] = make_split([]), benchmark.unlabelled
        none, some = (cache_keys.images_address(UNLABELLED, content_digest(s), size) for s in tests[UNLABELLED])
        images[UNLABELLED], lists[UNLABELLED] = (none, some), benchmark.unlabelled
    if how.test:
        tests[TEST], images[TEST] = work.tests[TEST], work.test_images[TEST]
        lists |= dict(zip(("query", "gallery"), work.tests[TEST], strict=True))
    if not lists:
        raise ConfigError(
            f"{job.plan.ensemble.rounds} rounds: {benchmark.root} has no unlabelled images. --set "
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
    job: BuildContext, first: BuildPlan, pool: UnlabelledPool, number: int, labels: NDArray[np.int64]
) -> BuildPlan:
    """The plan of round `number`: the labelled images, and the pool's images whose group is large enough.

    Args:
        labels: (N,) of the pool's images, -1 for none. Groups become identities above all known ones.

    Raises:
        ConfigError: no group has `recipe.min_images` images.
    """
    recipe = job.plan.recipe
    sizes = np.bincount(labels[labels >= 0], minlength=1)
    rows = np.flatnonzero((labels >= 0) & (sizes[labels] >= recipe.min_images))
    if not len(rows):
        raise ConfigError(
            f"round {number}: none of {len(sizes)} groups has recipe.min_images = {recipe.min_images} images; make "
            "larger or fewer groups (--set ensemble.pseudo.threshold=..., eps=... or groups=...)"
        )
    known, guessed, listed = first.training.split, pool.split.take(rows), first.train_images
    if listed is None:
        raise ValueError("every member is external: there is nothing to train")
    guessed = replace(guessed, pids=int(known.pids.max()) + 1 + labels[rows])
    training = balance(join({"": known, GUESSED: guessed}), recipe.min_images, recipe.resample, recipe.seed)
    parts = [(listed, np.arange(len(known))), *pool.parts(rows)]
    contents = Address("", "", {"parts": [[a.digest, r.tolist()] for a, r in parts]}).digest
    images = cache_keys.images_address(f"train-{number}", contents, recipe.size)
    source = pool.within(first)

    def make(folder: Path) -> None:
        pack_joined([(decoded_images(job, source, address), own) for address, own in parts], folder)

    return replace(
        first,
        training=training,
        train_images=images,
        members=member_addresses(job, training, images),
        splits=first.splits | {images.key: training.split},
        joined=first.joined | {images.key: make},
    )
