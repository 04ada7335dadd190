"""The stages of a member, each kept under its address: images, weights, features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import Ensemble, Member
from configs.store.store import RESUME, Address
from ensemble.features.external.import_member import ImportedMember, plan_import
from ensemble.features.feature_bank import save_bank
from ensemble.fusion.strategy import fusion_settings
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.domains import check_domains_and_tracks
from ensemble.pipeline.groups import check_features, check_whitening
from ensemble.results import cache_keys
from ensemble.results.build_record import Record
from ensemble.results.manifests import save_parts
from models.data.balance import Training, balance
from models.data.batches import PACKED, pack
from models.data.heldout.holdout import hold_out
from models.data.pk_sampler import check_identities
from models.data.split import Benchmark, Split, content_digest, label_digest
from models.device import choose_device
from models.distributed.worker import extraction_order, training_order
from models.extraction.extract import extract, load_member
from models.extraction.views import make_views
from models.pretrained import identify, keep_weights
from models.training.train import train_member


@dataclass(frozen=True)
class BuildPlan:
    """What a build is to make: the addresses, and the lists they are made from."""

    training: Training  # empty where every member is from outside
    train_images: Address | None  # none there
    members: dict[str, Address]
    tests: dict[str, tuple[Split, Split]]  # name -> query, gallery
    test_images: dict[str, tuple[Address, Address]]
    splits: dict[str, Split]  # key of an images address -> what it holds
    outside: dict[str, ImportedMember]  # a member that other code made -> its file, and where its banks go
    joined: dict[str, Callable[[Path], None]] = field(default_factory=dict)  # key -> made so, not by decoding


def check_cameras(settings: Ensemble, query: Split, gallery: Split) -> None:
    """A penalty on cameras wants some to be known.

    Raises:
        ConfigError: none is.
    """
    fusion_settings(settings, ()).penalties(np.concatenate([query.camids, gallery.camids]))


def plan_build(job: BuildContext, benchmark: Benchmark, holdout: float | None) -> BuildPlan:
    """Read every file once for its digest, and name the address of everything."""
    recipe, train = job.plan.recipe, benchmark.train
    tests = {"test": (benchmark.query, benchmark.gallery)}
    make_views(job.plan.ensemble.views, job.plan.ensemble.flip)  # a mistake in them is said before any work
    if holdout is not None:
        train, query, gallery = hold_out(train, holdout, recipe.seed)
        tests["holdout"] = (query, gallery)
    for query, gallery in tests.values():
        check_domains_and_tracks(job.plan.ensemble, query, gallery)
        check_cameras(job.plan.ensemble, query, gallery)
        check_whitening(job.plan.ensemble, train, query, gallery)
    outside = {o.name: plan_import(o, tests, benchmark, job.store, job.progress.say) for o in job.plan.outside}
    check_features(job.plan.ensemble, outside)
    if not job.plan.members:
        return BuildPlan(Training(train.take([]), np.empty(0, np.int64), ()), None, {}, tests, {}, {}, outside)
    training = balance(train, recipe.min_images, recipe.resample, recipe.seed)
    check_identities(recipe.identities_per_batch, len(training.pids))
    splits: dict[str, Split] = {}

    def images(name: str, split: Split) -> Address:
        address = cache_keys.images_address(name, content_digest(split), recipe.size)
        splits[address.key] = split
        return address

    train_images = images("train", training.split)
    members = member_addresses(job, training, train_images)
    test_images = {name: (images(f"{name}-query", q), images(f"{name}-gallery", g)) for name, (q, g) in tests.items()}
    return BuildPlan(training, train_images, members, tests, test_images, splits, outside)


def member_addresses(job: BuildContext, training: Training, images: Address) -> dict[str, Address]:
    """Where each member, trained on this, lies."""
    recipe, labels, result = job.plan.recipe, label_digest(training.split), {}
    for m in job.plan.members:
        start = identify(m.weights) if recipe.pretrained and m.weights else None
        result[m.name] = cache_keys.weights_address(m, recipe, images, labels, start, job.precision, job.device)
    return result


def member_features_address(job: BuildContext, work: BuildPlan, member: str, test: str) -> Address:
    """Where one member's features of one test lie."""
    query, gallery = work.test_images[test]
    return cache_keys.features_address(work.members[member], test, query, gallery, job.plan.ensemble, job.precision)


def train(job: BuildContext, work: BuildPlan, member: Member) -> Path:
    """Train one member, or find it trained."""
    recipe, listed = job.plan.recipe, work.train_images
    if listed is None:
        raise ValueError(f"{member.name}: this work has nothing to train on")
    device, _ = choose_device(job.device)

    def make(folder: Path) -> None:
        images = decoded_images(job, work, listed)
        pretrained = keep_weights(job.store, member.weights) if recipe.pretrained and member.weights else None
        start = f"from {pretrained.name}" if pretrained else "from random weights"
        job.progress.say(f"training {member.name}, {recipe.epochs} epochs of {len(images):,} images, {start}")
        job.team.send(training_order(member, recipe, work.training, images, folder, pretrained, job.precision))
        train_member(
            member,
            recipe,
            work.training,
            images,
            folder,
            device=device,
            precision=job.precision,
            workers=job.workers,
            progress=job.progress,
            pretrained=pretrained,
            team=job.team,
        )

    return job.store.get(work.members[member.name], make, resume=True).path


def features(job: BuildContext, work: BuildPlan, member: Member, test: str) -> Address:
    """Extract one member's features of one test's query and gallery, or find them extracted."""
    address = member_features_address(job, work, member.name, test)
    device, _ = choose_device(job.device)

    def make(folder: Path) -> None:
        trained, parts = train(job, work, member), []
        net, settings, channels_last = load_member(member, trained), job.plan.ensemble, job.plan.recipe.channels_last
        for side, images, split in zip(("query", "gallery"), work.test_images[test], work.tests[test], strict=True):
            if not len(split):
                continue  # unlabelled images: they ask nothing
            pictures = decoded_images(job, work, images)
            order = extraction_order(member, trained, pictures, split.names, settings, channels_last, job.precision)
            job.team.send(order)
            parts.append(
                extract(
                    net,
                    pictures,
                    split.names,
                    views=make_views(settings.views, settings.flip),
                    channels_last=channels_last,
                    device=device,
                    precision=job.precision,
                    progress=job.progress,
                    what=f"{member.name}, {test} {side}",
                    keep=folder / RESUME / side,
                    team=job.team,
                )
            )
        query, gallery = work.tests[test]
        save_bank(folder, np.concatenate(parts), query.names, gallery.names)

    job.store.get(address, make, resume=True)
    return address


def images_needed(job: BuildContext, work: BuildPlan, members: Sequence[Member]) -> list[Address]:
    """The lists of images that these members read, as far as their weights and features are not there."""
    wanted = [work.train_images] if any(not job.store.has(work.members[m.name]) for m in members) else []
    for test, sides in work.test_images.items():
        if any(not job.store.has(member_features_address(job, work, m.name, test)) for m in members):
            wanted += [a for a, split in zip(sides, work.tests[test], strict=True) if len(split)]
    return [address for address in wanted if address is not None]


def decoded_images(job: BuildContext, work: BuildPlan, address: Address) -> NDArray[np.uint8]:
    """Decoded images as a memory map (N, H, W, 3) uint8."""
    split, size = work.splits[address.key], job.plan.recipe.size

    def make(folder: Path) -> None:
        if address.key in work.joined:
            work.joined[address.key](folder)
        else:
            pack(split, size, folder, job.progress)
            save_parts(folder, address)

    kept = job.store.get(address, make)
    images: NDArray[np.uint8] = np.load(kept.path / PACKED, mmap_mode="r")
    return images


def record_address(job: BuildContext, record: Record) -> Address:
    """Where the record of this build lies."""
    asked = asdict(record)
    evaluations = asked.pop("evaluations")
    request = {"plan": asked["plan"], "data": asked["data"], "evaluations": evaluations, "command": asked["command"]}
    request |= {key: asked[key] for key in ("rounds", "left_out") if asked[key]}
    return Address("builds", job.plan.competition.name, request)
