"""How fast members like those of a build were trained in this store."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from configs.errors import ReidError
from configs.recipe import ALL
from configs.schema import Member, Recipe
from configs.store.store import Store
from ensemble.results.manifests import Manifest, ResultHistory, epochs_of
from models.model_cost import footprint

CLASSES = 100  # of a network whose identities nobody counted: the classifier is a small share of it


def training_rate(past: ResultHistory, wanted: Mapping[str, Any], flops: float) -> float | None:
    """Images a second that a member will be trained at; None where nothing comparable was trained here.

    The newest of the same network, size, precision and device; else the newest of another network, by its products.

    Args:
        wanted: the request of the member. flops: of one image through its network.
    """
    if own := own_rate(past, wanted):
        return own
    for old in _alike(past, wanted):
        rate, other = _rate(past.store, old), _flops(old.request)
        if rate and other:
            return rate * other / flops
    return None


def thawed(request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request of a member as if its backbone were trained: at that speed images go through it."""
    return {**request, "recipe": {**request["recipe"], "freeze": None}}


def own_rate(past: ResultHistory, wanted: Mapping[str, Any]) -> float | None:
    """Images a second of the newest of the same network, size, precision and device; None where there is none."""
    same = (old for old in _alike(past, wanted) if _network(old.request) == _network(wanted))
    return next((rate for old in same if (rate := _rate(past.store, old))), None)


def _alike(past: ResultHistory, wanted: Mapping[str, Any]) -> list[Manifest]:
    """Trained members of the same size, precision, device and batches, newest first."""
    return [m for m in past.manifests if m.key.startswith("members/") and _setting(m.request) == _setting(wanted)]


def _setting(request: Mapping[str, Any]) -> tuple[Any, ...]:
    recipe = request.get("recipe") or {}
    batch = recipe.get("identities_per_batch"), recipe.get("images_per_identity")
    how = recipe.get("channels_last"), recipe.get("freeze") == ALL
    return recipe.get("size"), recipe.get("precision"), request.get("device"), *how, batch


def _network(request: Mapping[str, Any]) -> tuple[Any, ...]:
    member = request.get("member") or {}
    return member.get("backbone"), member.get("head")


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
