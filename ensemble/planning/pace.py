"""How fast members were trained in this store, to say how long the next will take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import median
from typing import Any

from configs.errors import ReidError
from configs.schema import Member, Recipe
from configs.store.store import Store
from ensemble.planning.rebuild_reasons import Manifest, Past
from models.model_cost import footprint

EPOCHS = "epochs.jsonl"
CLASSES = 100  # of a network whose identities nobody counted: the classifier is a small share of it


def training_rate(past: Past, wanted: Mapping[str, Any], flops: float) -> float | None:
    """Images a second that a member will be trained at; None where nothing comparable was trained here.

    The newest of the same network, size, precision and device; else the newest of another network, by its products.

    Args:
        wanted: the request of the member. flops: of one image through its network.
    """
    alike = [m for m in past.manifests if m.key.startswith("members/") and _setting(m.request) == _setting(wanted)]
    for old in alike:
        if _network(old.request) == _network(wanted) and (rate := _rate(past.store, old)):
            return rate
    for old in alike:
        rate, other = _rate(past.store, old), _flops(old.request)
        if rate and other:
            return rate * other / flops
    return None


def _setting(request: Mapping[str, Any]) -> tuple[Any, ...]:
    recipe = request.get("recipe") or {}
    batch = recipe.get("identities_per_batch"), recipe.get("images_per_identity")
    return recipe.get("size"), recipe.get("precision"), request.get("device"), recipe.get("channels_last"), batch


def _network(request: Mapping[str, Any]) -> tuple[Any, ...]:
    member = request.get("member") or {}
    return member.get("backbone"), member.get("head")


def epochs_of(store: Store, key: str) -> list[dict[str, Any]]:
    """The lines of a member's `epochs.jsonl`; none where they cannot be read."""
    try:
        lines = (store.root / key / EPOCHS).read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return []
    return [e for e in found if isinstance(e, dict) and {"epoch", "loss", "images", "seconds"} <= set(e)]


def _rate(store: Store, old: Manifest) -> float | None:
    """Images a second, the median of its epochs: the first one warms up, another may have been disturbed."""
    rates = [e["images"] / e["seconds"] for e in epochs_of(store, old.key) if e["seconds"]]
    return median(rates) if rates else None


def _flops(request: Mapping[str, Any]) -> float | None:
    try:
        recipe = Recipe.model_validate({"checkpoint_every": 1} | request["recipe"])
        member = Member.model_validate(request["member"] | {"weights": None})
        return footprint(member, recipe, CLASSES).flops
    except (ReidError, ValueError, KeyError, TypeError):
        return None
