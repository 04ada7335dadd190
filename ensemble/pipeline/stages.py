"""The stages of one member: images, weights, features. Each result is cached under its address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.recipe import ALL
from configs.schema import Ensemble, Member
from configs.store.store import RESUME, Address
from ensemble.features.external.import_member import ImportedMember, plan_import
from ensemble.features.feature_bank import save_bank
from ensemble.fusion.strategy import fusion_settings
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.domains import check_domains_and_tracks
from ensemble.pipeline.groups import check_features, check_whitening, rerank_groups
from ensemble.results import cache_keys
from ensemble.results.build_record import Record
from ensemble.results.manifests import save_parts
from models.data.balance import Training, balance
from models.data.batches import PACKED, pack, packed_name
from models.data.heldout.holdout import hold_out
from models.data.images import PLAIN
from models.data.pk_sampler import check_identities
from models.data.split import Benchmark, Split, content_digest, label_digest
from models.device import choose_device
from models.distributed.worker import extraction_order, training_order
from models.extraction.views import make_views, other_sizes
from models.registry import resampling
from models.weights.sources import identify, keep_weights


@dataclass(frozen=True)
class BuildPlan:
    """What a build makes: the address of each result, and the image lists that it is made from."""

    training: Training  # empty if every member is external
    train_images: dict[str, Address]  # member -> training images in its size; empty if every member is external
    members: dict[str, Address]
    tests: dict[str, tuple[Split, Split]]  # name -> query, gallery
    test_images: dict[str, dict[str, tuple[Address, Address]]]  # test -> member -> query, gallery in its size
    splits: dict[str, Split]  # key of an images address -> its image list
    outside: dict[str, ImportedMember]  # external member -> its file and the addresses of its banks
    joined: dict[str, Callable[[Path], None]] = field(default_factory=dict)  # key -> writes the images, no decoding
    folds: tuple[BuildPlan, ...] = ()  # a plan per fold, whose test is the fold as a gallery without queries


def check_cameras(settings: Ensemble, query: Split, gallery: Split) -> None:
    """Check that cameras are known if a camera penalty or a grouped re-ranker needs them.

    Raises:
        ConfigError: no camera is known.
    """
    mix, camids = fusion_settings(settings, ()), np.concatenate([query.camids, gallery.camids])
    mix.penalties(camids)
    mix.groups(rerank_groups(settings, query, gallery))
    for own in settings.domain_settings.values():
        fusion_settings(settings, (), own)


def plan_build(context: BuildContext, benchmark: Benchmark, holdout: float | None) -> BuildPlan:
    """Read every file once for its digest, and compute the address of every result."""
    recipe, train = context.config.recipe, benchmark.train
    tests = {"test": (benchmark.query, benchmark.gallery)}
    make_views(context.config.ensemble.views, context.config.ensemble.flip)  # wrong views are an error before any work
    if holdout is not None:
        train, query, gallery = hold_out(train, holdout, recipe.seed)
        tests["holdout"] = (query, gallery)
    for query, gallery in tests.values():
        check_domains_and_tracks(context.config.ensemble, query, gallery)
        check_cameras(context.config.ensemble, query, gallery)
        check_whitening(context.config.ensemble, train, query, gallery)
    outside = {
        o.name: plan_import(o, tests, benchmark, context.store, context.progress.say) for o in context.config.outside
    }
    check_features(context.config.ensemble, outside)
    if not context.config.members:
        return BuildPlan(Training(train.take([]), np.empty(0, np.int64), ()), {}, {}, tests, {}, {}, outside)
    training = balance(train, recipe.min_images, recipe.resample, recipe.seed)
    for member in context.config.members:
        check_identities(context.config.recipe_of(member).identities_per_batch, len(training.pids))
    splits: dict[str, Split] = {}
    train_images = images_of(context, "train", training.split, splits, viewed=False)
    members = member_addresses(context, training, train_images)
    test_images = {}
    for name, (query, gallery) in tests.items():
        queries, galleries = (
            images_of(context, f"{name}-{side}", split, splits)
            for side, split in (("query", query), ("gallery", gallery))
        )
        test_images[name] = {m: (queries[m], galleries[m]) for m in members}
    return BuildPlan(training, train_images, members, tests, test_images, splits, outside)


def images_of(
    context: BuildContext, name: str, split: Split, splits: dict[str, Split], *, viewed: bool = True
) -> dict[str, Address]:
    """The address of a list's decoded images, by member. Members of one size share it.

    Args:
        splits: the list is added to it, under the key of each address.
        viewed: also decode at the sizes of the test-time views.
    """
    contents, addresses = content_digest(split), {}
    views = make_views(context.config.ensemble.views, context.config.ensemble.flip) if viewed else []
    for m in context.config.members:
        size = context.config.recipe_of(m).size
        others = other_sizes(views, size)
        addresses[m.name] = cache_keys.images_address(name, contents, size, resampling(m), others)
        splits[addresses[m.name].key] = split
    return addresses


def member_addresses(context: BuildContext, training: Training, images: Mapping[str, Address]) -> dict[str, Address]:
    """The address of each member trained on this set."""
    labels, result = label_digest(training.split), {}
    for m in context.config.members:
        recipe = context.config.recipe_of(m)
        start = identify(m.weights) if recipe.pretrained and m.weights else None
        address = cache_keys.weights_address(
            m, recipe, images[m.name], labels, start, context.precision, context.device
        )
        result[m.name] = address
    return result


def training_of(context: BuildContext, plan: BuildPlan, member: Member) -> Training:
    """The training set of a member: the shared images. Which identities are doubled depends on its own seed."""
    recipe, shared = context.config.recipe_of(member), context.config.recipe
    if (recipe.resample, recipe.seed) == (shared.resample, shared.seed):
        return plan.training
    return balance(plan.training.split, recipe.min_images, recipe.resample, recipe.seed)


def member_features_address(context: BuildContext, plan: BuildPlan, member: str, test: str) -> Address:
    """The address of one member's features of one test."""
    query, gallery = plan.test_images[test][member]
    return cache_keys.features_address(
        plan.members[member], test, query, gallery, context.config.ensemble, context.precision
    )


def frozen_features_address(context: BuildContext, plan: BuildPlan, member: Member) -> Address | None:
    """The address of the frozen backbone's training features; None if the backbone is not frozen completely."""
    recipe, listed = context.config.recipe_of(member), plan.train_images.get(member.name)
    if recipe.freeze != ALL or listed is None:
        return None
    start = identify(member.weights) if recipe.pretrained and member.weights else None
    return cache_keys.frozen_address(member, recipe, listed, start, context.precision, context.device)


def frozen_features(context: BuildContext, plan: BuildPlan, member: Member, pretrained: Path | None) -> Path | None:
    """The frozen backbone's features of the training images; None if the backbone is trained."""
    address, recipe = frozen_features_address(context, plan, member), context.config.recipe_of(member)
    if address is None:
        return None
    device, _ = choose_device(context.device)

    def make(folder: Path) -> None:
        from models.training.frozen_features import extract_frozen
        from models.training.setup import start

        images, *_ = decoded_images(context, plan, plan.train_images[member.name])
        extract_frozen(
            start(member, recipe, 2, folder, pretrained, context.progress),
            recipe,
            images,
            folder,
            device=device,
            precision=context.precision,
            progress=context.progress,
            what=f"{member.name}, frozen backbone",
        )

    return context.store.get(address, make).path


def train(context: BuildContext, plan: BuildPlan, member: Member) -> Path:
    """Train one member, unless it is cached."""
    recipe, listed = context.config.recipe_of(member), plan.train_images.get(member.name)
    if listed is None:
        raise ValueError(f"{member.name}: this work has nothing to train on")
    device, _ = choose_device(context.device)

    def make(folder: Path) -> None:
        from models.training.train import train_member  # imports torchvision: one second, not needed for cached results

        (images, *_), training = decoded_images(context, plan, listed), training_of(context, plan, member)
        pretrained = keep_weights(context.store, member.weights) if recipe.pretrained and member.weights else None
        begin = f"from {pretrained.name}" if pretrained else "from random weights"
        frozen = frozen_features(context, plan, member, pretrained)
        context.progress.say(f"training {member.name}, {recipe.epochs} epochs of {len(images):,} images, {begin}")
        context.team.send(
            training_order(member, recipe, training, images, folder, pretrained, frozen, context.precision)
        )
        train_member(
            member,
            recipe,
            training,
            images,
            folder,
            device=device,
            precision=context.precision,
            workers=context.workers,
            progress=context.progress,
            pretrained=pretrained,
            frozen=frozen,
            team=context.team,
        )

    return context.store.get(plan.members[member.name], make, resume=True).path


def features(context: BuildContext, plan: BuildPlan, member: Member, test: str) -> Address:
    """Extract one member's features of one test's query and gallery, unless they are cached."""
    address = member_features_address(context, plan, member.name, test)
    device, _ = choose_device(context.device)

    def make(folder: Path) -> None:
        from models.extraction.extract import extract, load_member  # imports torchvision

        trained, parts = train(context, plan, member), []
        settings, recipe = context.config.ensemble, context.config.recipe_of(member)
        net, channels_last = load_member(member, trained, recipe.size), recipe.channels_last
        for side, images, split in zip(
            ("query", "gallery"), plan.test_images[test][member.name], plan.tests[test], strict=True
        ):
            if not len(split):
                continue  # unlabelled images have no queries
            pictures = decoded_images(context, plan, images)
            order = extraction_order(member, trained, pictures, split.names, settings, channels_last, context.precision)
            context.team.send(order)
            parts.append(
                extract(
                    net,
                    pictures[0],
                    split.names,
                    views=make_views(settings.views, settings.flip),
                    others=pictures[1:],
                    channels_last=channels_last,
                    device=device,
                    precision=context.precision,
                    progress=context.progress,
                    what=f"{member.name}, {test} {side}",
                    keep=folder / RESUME / side,
                    team=context.team,
                )
            )
        query, gallery = plan.tests[test]
        save_bank(folder, np.concatenate(parts), query.names, gallery.names)

    context.store.get(address, make, resume=True)
    return address


def images_needed(context: BuildContext, plan: BuildPlan, members: Sequence[Member]) -> list[Address]:
    """The image lists that these members must read: for training and for extraction that are not cached."""
    needed = [plan.train_images[m.name] for m in members if not context.store.has(plan.members[m.name])]
    for test, of_members in plan.test_images.items():
        for m in members:
            if not context.store.has(member_features_address(context, plan, m.name, test)):
                sides = zip(of_members[m.name], plan.tests[test], strict=True)
                needed += [address for address, split in sides if len(split)]
    return list({address.key: address for address in needed}.values())


def decoded_images(context: BuildContext, plan: BuildPlan, address: Address) -> list[NDArray[np.uint8]]:
    """Decoded images as memory maps (N, H, W, 3) uint8: the member's size first, then the other sizes of the views."""
    split, own = plan.splits[address.key], address.request["size"]
    names = {PACKED: own} | {packed_name(other): other for other in address.request.get("others", ())}

    def make(folder: Path) -> None:
        if address.key in plan.joined:
            plan.joined[address.key](folder)
        else:
            for name, (height, width) in names.items():
                pack(split, (height, width), folder, context.progress, address.request.get("resampled", PLAIN), name)
            save_parts(folder, address)

    kept = context.store.get(address, make)
    return [np.load(kept.path / name, mmap_mode="r") for name in names]


def record_address(context: BuildContext, record: Record) -> Address:
    """The address of this build's record."""
    fields = asdict(record)
    evaluations = fields.pop("evaluations")
    request = {"plan": fields["plan"], "data": fields["data"], "evaluations": evaluations, "command": fields["command"]}
    request |= {key: fields[key] for key in ("rounds", "left_out", "folds") if fields[key]}
    return Address("builds", context.config.competition.name, request)
