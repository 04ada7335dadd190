"""The camera or the domain of each image: by what features are centred before whitening, and re-ranked by groups."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.schema import Ensemble
from ensemble.features.external.import_member import ImportedMember
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.domains import domains_of, seen_by
from models.data.split import UNKNOWN, Split


def groups_of(context: BuildContext, names: Sequence[str], splits: Sequence[Split]) -> list[int] | list[str] | None:
    """The camera or the domain of each image of some lists, one after another; None where one mean is of all.

    Args:
        names: of the lists, for what is kept of looking at them.
    """
    how = context.config.ensemble.whiten
    if how is None or how.center == "none":
        return None
    if how.center == "camera":
        return [int(camid) for split in splits for camid in split.camids]
    return [domain for name, split in zip(names, splits, strict=True) for domain in domains_of(context, name, split)]


def rerank_groups(settings: Ensemble, query: Split, gallery: Split) -> NDArray[np.int64]:
    """(N,) the groups of a re-ranking by groups, queries first, -1 unknown: cameras, or domains of the table."""
    if settings.group_by == "camera":
        return np.concatenate([query.camids, gallery.camids])
    told = [name for split in (query, gallery) for name in (split.domains or [""] * len(split))]
    number = {name: i for i, name in enumerate(sorted(set(told) - {""}))}
    return np.array([number.get(name, UNKNOWN) for name in told], np.int64)


def groups_request(settings: Ensemble, splits: Sequence[Split]) -> dict[str, Any]:
    """What these groups depend on, for cache keys; nothing has been looked at yet."""
    how = settings.whiten
    if how is None or how.center == "none":
        return {}
    if how.center == "camera":
        camids = np.concatenate([split.camids for split in splits]).astype("<i8")
        return {"camids": hashlib.sha256(camids.tobytes()).hexdigest()}
    if settings.domains == "colours":
        seen = seen_by(*splits)
        return {"seen": [*map(str, seen["contents"]), str(seen["code"])]}
    told = json.dumps([split.domains for split in splits])
    return {"domains": hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()}


def check_whitening(settings: Ensemble, train: Split, query: Split, gallery: Split) -> None:
    """Refuse groups that this data set does not tell, before anything is trained.

    Raises:
        ConfigError: it tells no cameras or domains, one has a single image, or none to learn its mean from.
    """
    how = settings.whiten
    if how is None or how.center == "none" or settings.domains == "colours":  # which are not known before a look
        return
    lists = {"query": query, "gallery": gallery} | ({"training": train} if how.name == "train" else {})
    for name, split in lists.items():
        if not (split.cameras if how.center == "camera" else split.domains):
            raise ConfigError(f"ensemble.whiten.center={how.center}: none is known of the {name} list; set center=none")
    learned = Counter(_told(how.center, [train] if how.name == "train" else [query, gallery]))
    for group in _told(how.center, [query, gallery]):
        if how.name == "train" and group not in learned:
            raise ConfigError(
                f"ensemble.whiten.center={how.center}: {how.center} {_said(group)} has no training image to take its "
                "mean from; set name=test, or center=none"
            )
        if how.name == "test" and learned[group] == 1:
            raise ConfigError(
                f"ensemble.whiten.center={how.center}: {how.center} {_said(group)} has a single image, and nothing is "
                "left of that without its mean; set center=none"
            )


def _told(center: str, splits: Sequence[Split]) -> list[Any]:
    of_each = (split.camids.tolist() if center == "camera" else split.domains or () for split in splits)
    return [group for told in of_each for group in told]


def _said(group: int | str) -> str:
    return "(unknown)" if group in (UNKNOWN, "") else repr(group)


def check_features(settings: Ensemble, outside: Mapping[str, ImportedMember]) -> None:
    """What averages or whitens features wants some, and what is learned on training images those of them too.

    Raises:
        ConfigError: a member gives distances, or comes from outside and is to be whitened by training images.
    """
    how = settings.whiten
    wants = {
        "ensemble.whiten whitens features": how is not None,
        "ensemble.expand averages features": settings.expand is not None,
        "ensemble.tracks averages features": settings.tracks != "none",
    }
    what = next((said for said, asked in wants.items() if asked), None)
    name = next((name for name, incoming in outside.items() if incoming.distances), None)
    if what and name:
        raise ConfigError(f"{what}, and member {name!r} gives distances; leave one of the two out")
    if how is not None and how.name == "train" and outside:
        raise ConfigError(
            f"ensemble.whiten=train is learned on features of the training images, and {next(iter(outside))!r} comes "
            "from outside with those of query and gallery alone; ensemble.whiten=test learns on these where the rules "
            "allow it"
        )
