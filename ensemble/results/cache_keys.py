"""The cache key of each result of a build. Its request holds all that the result depends on, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.schema import Ensemble, Expansion, Member, Recipe, Whitening
from configs.store.code_version import PROJECT, CodeVersion, code_version
from configs.store.store import Address
from ensemble.kernels.left_out import LeftOut
from ensemble.results.pseudo_settings import guessed_labels
from models.data.images import PLAIN

MODELS = PROJECT / "models"
ENSEMBLE = PROJECT / "ensemble"
KERNELS = ENSEMBLE / "kernels"
NEIGHBOURS = ENSEMBLE / "neighbours"
RERANK = ENSEMBLE / "rerank"
FUSION = ENSEMBLE / "fusion"
METRICS = ENSEMBLE / "metrics"
TUNE = ENSEMBLE / "tune"
PIPELINE = ENSEMBLE / "pipeline"
RESULTS = ENSEMBLE / "results"
FEATURE_BANK = ENSEMBLE / "features" / "feature_bank.py"
NO_EFFECT = {"checkpoint_every", "checkpoint_minutes", "feed", "launch"}  # keys of the recipe that change no weight
# Modules of models/training that only write, print or check.
CHANGES_NO_WEIGHT = {"checkpoint", "keeper", "epoch_metrics", "numeric_checks"}
KEEP = 64  # minimum number of neighbours saved per row, so that other k1 and k2 need no new search


def images_address(
    name: str,
    digest: str,
    size: tuple[int, int],
    resampled: str = PLAIN,
    others: Sequence[tuple[int, int]] = (),
) -> Address:
    """Decoded images of one list. resampled: a filter of `models/data/images.py`. others: further sizes."""
    code = code_version(*(MODELS / "data" / f"{name}.py" for name in ("images", "crop", "mend", "batches")))
    request = {"contents": digest, "size": list(size), "code": code}
    request |= {"resampled": resampled} if resampled != PLAIN else {}
    request |= {"others": [list(other) for other in others]} if others else {}
    return Address("images", name, request)


def weights_address(
    member: Member,
    recipe: Recipe,
    images: Address,
    labels: str,
    start: Mapping[str, Any] | None,
    precision: str,
    device: str,
) -> Address:
    """A trained member.

    Args:
        recipe: the shared recipe, with the member's own keys replaced.
        labels: digest of the images' identities.
        start: identification of the initial weights, with a digest of their contents; None for random weights.
    """
    settings = recipe.model_dump(mode="json")
    request = {
        "member": member.model_dump(mode="json", exclude={"size", "seed", "recipe"})
        | {"name": member.base, "weights": start},
        "recipe": {k: v for k, v in settings.items() if k not in NO_EFFECT} | {"precision": precision},
        "feed": recipe.feed_on(device),  # a level may differ
        "compiled": recipe.launch == "compile",  # captured or not, the bits are the same
        "device": device,
        "images": images.digest,
        "labels": labels,
        "code": training_code(),
    }
    return Address("members", member.base, request)


def frozen_address(
    member: Member, recipe: Recipe, images: Address, start: Mapping[str, Any] | None, precision: str, device: str
) -> Address:
    """A frozen backbone's features of the training images, independent of the head."""
    from models.training.frozen_features import copies, kept_for  # torch: seconds that other addresses do not need

    code = ("net", "registry", "device", "data/batches", "training/setup", "training/frozen_features")
    request = {
        "backbone": member.backbone.model_dump(mode="json"),
        "weights": start,
        "seed": recipe.seed,  # for parts that are not in the weights file
        "kept": kept_for(member),
        "copies": copies(recipe),
        "channels_last": recipe.channels_last,
        "precision": precision,
        "device": device,
        "images": images.digest,
        "code": code_version(MODELS / "backbones", MODELS / "weights", *(MODELS / f"{name}.py" for name in code)),
    }
    return Address("frozen", images.name, request)


def features_address(
    weights: Address, name: str, query: Address, gallery: Address, ensemble: Ensemble, precision: str
) -> Address:
    """One member's features of one query and gallery."""
    request = {
        "weights": weights.digest,
        "query": query.digest,
        "gallery": gallery.digest,
        "flip": ensemble.flip,
        "views": [view.model_dump(mode="json") for view in ensemble.views],
        "precision": precision,
        "code": code_version(MODELS / "extraction", FEATURE_BANK),
    }
    return Address("features", f"{weights.name}-{name}", request)


def neighbours_address(
    name: str,
    banks: Mapping[str, Address],
    weights: Mapping[str, float],
    k: int,
    top_k: int,
    penalty: Mapping[str, Any] | None = None,
    left_out: LeftOut | None = None,
    groups: str | None = None,
) -> Address:
    """The nearest images of each image, and each query's nearest gallery images, by the fused distance.

    groups: hash of the groups that neighbours are searched by.
    """
    request = {"banks": _banks(banks), "weights": dict(weights), "k": k, "top_k": top_k, "code": retrieval_code()}
    request |= ({"penalty": dict(penalty)} if penalty else {}) | ({"groups": groups} if groups else {})
    request |= left_out_request(left_out)
    return Address("neighbours", name, request)


def ranking_address(
    name: str,
    banks: Mapping[str, Address],
    weights: Mapping[str, float],
    ensemble: Ensemble,
    rerank: Mapping[str, Any],
    top_k: int,
    kinds: Mapping[str, Any] | None = None,
    penalty: Mapping[str, Any] | None = None,
    left_out: LeftOut | None = None,
    groups: str | None = None,
) -> Address:
    """The ranked lists of all queries.

    Args:
        rerank: request of the re-ranking. kinds: domains and tracks.
        groups: hash of the groups that neighbours are searched by.
    """
    request = {
        "banks": _banks(banks),
        "weights": dict(weights),
        "rerank": dict(rerank),
        "top_k": top_k,
        "code": retrieval_code(PIPELINE, RESULTS / "ranking.py"),
        **guessed_labels(ensemble),
    } | ({"kinds": kinds} if kinds else {})
    request |= ({"penalty": dict(penalty)} if penalty else {}) | ({"groups": groups} if groups else {})
    request |= left_out_request(left_out)
    return Address("rankings", name, request)


def whitened_address(
    name: str,
    member: str,
    bank: Address,
    train: Address | None,
    how: Whitening,
    groups: Mapping[str, Any],
    left_out: LeftOut | None = None,
) -> Address:
    """One member's features, whitened.

    Args:
        bank: the features. train: features of the training images, if the whitening is learned on them.
        groups: identification of the cameras or domains, if each has its own mean.
    """
    request = {
        "of": member,
        "weights": bank.request.get("weights"),  # whose features they are: training time, curves
        "banks": {"test": bank.digest} | ({"train": train.digest} if train else {}),
        "whiten": how.model_dump(mode="json"),
        "groups": dict(groups),
        "code": retrieval_code(PIPELINE, FEATURE_BANK),
        **({} if train else left_out_request(left_out)),
    }
    return Address("whitened", f"{member}-{name}", request)


def expanded_address(
    name: str,
    member: str,
    banks: Mapping[str, Address],
    weights: Mapping[str, float],
    how: Expansion,
    left_out: LeftOut | None = None,
) -> Address:
    """One member's features, averaged with the nearest images by all members' summed similarity."""
    request = {
        "of": member,
        "weights": banks[member].request.get("weights"),  # whose features they are: training time, curves
        "banks": _banks(banks),
        "shares": dict(weights),
        "expand": how.model_dump(mode="json"),
        "code": retrieval_code(PIPELINE, FEATURE_BANK),
        **left_out_request(left_out),
    }
    return Address("expanded", f"{member}-{name}", request)


def camera_penalty(amount: float, camids: NDArray[np.int64]) -> dict[str, Any] | None:
    """What a camera penalty depends on; None if there is no penalty."""
    if not amount:
        return None
    return {"camera": amount, "camids": labels_hash(camids)}


def labels_hash(labels: ArrayLike) -> str:
    """SHA-256 of one integer per image."""
    return hashlib.sha256(np.asarray(labels, "<i8").tobytes()).hexdigest()


def left_out_request(left_out: LeftOut | None) -> dict[str, Any]:
    """The rules and the hash of what lists exclude; empty if they exclude nothing."""
    if left_out is None:
        return {}
    parts = (left_out.own, left_out.indptr, left_out.index)
    rows = b"|".join(np.asarray(a, "<i8").tobytes() for a in parts)
    return {"left_out": {"rules": list(left_out.rules), "rows": hashlib.sha256(rows).hexdigest()}}


def _banks(banks: Mapping[str, Address]) -> dict[str, str]:
    return {member: address.digest for member, address in banks.items()}


def training_code() -> CodeVersion:
    """The code version of every file that can change a weight."""
    rooms = [MODELS / name for name in ("distributed", "backbones", "heads", "losses", "weights", "data/augment")]
    training = [path for path in sorted((MODELS / "training").glob("*.py")) if path.stem not in CHANGES_NO_WEIGHT]
    files = [MODELS / f"{name}.py" for name in ("net", "registry", "lr_schedules", "device")]
    read = ("feed", "feature_feed", "ahead", "batches", "pk_sampler", "balance")
    reads = [MODELS / "data" / f"{name}.py" for name in read]
    return code_version(*rooms, *training, *files, *reads)


def retrieval_code(*more: Path) -> CodeVersion:
    """The code version of every file that can change a distance, a neighbour or a rank, and of `more`."""
    return code_version(KERNELS, NEIGHBOURS, RERANK, FUSION, *more)
