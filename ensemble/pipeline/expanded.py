"""Query expansion or database augmentation as a stage of a build: members' features averaged with their nearest.

What it makes is features like any other, kept under an address of their own; everything after it reads those.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.schema import Expansion
from configs.store.store import Address
from ensemble.features.feature_bank import FeatureBank, features_of, open_banks, save_bank
from ensemble.pipeline.context import Job
from ensemble.rerank import query_expansion
from ensemble.results import cache_keys


def where_expanded(job: Job, test: str, addressed: dict[str, Address]) -> dict[str, Address]:
    """Where the members' expanded features lie; those given where no expansion is asked for."""
    how, weights = job.plan.ensemble.expand, _weights(job, addressed)
    if how is None:
        return addressed
    return {name: cache_keys.expanded_address(test, name, addressed, weights, how) for name in addressed}


def _weights(job: Job, addressed: dict[str, Address]) -> dict[str, float]:
    return {name: job.plan.ensemble.weights.get(name, 1.0) for name in addressed}


def expanded(job: Job, test: str, addressed: dict[str, Address]) -> dict[str, Address]:
    """The members' expanded features, made where they are not there; those given where no expansion is asked for."""
    how = job.plan.ensemble.expand
    if how is None:
        return addressed
    out, weights = where_expanded(job, test, addressed), _weights(job, addressed)

    @functools.cache
    def averaged() -> tuple[list[FeatureBank], list[NDArray[np.float32]]]:
        banks = open_banks(job.store, {name: a.key for name, a in addressed.items()})
        job.progress.say(f"{how.name} averaged with their {how.k} nearest, of weight cos^{how.alpha:g}")
        return banks, average(banks, list(weights.values()), how, job.device)

    for at, address in enumerate(out.values()):

        def make(folder: Path, at: int = at) -> None:
            banks, feats = averaged()
            save_bank(folder, feats[at], banks[at].query_names, banks[at].gallery_names)

        job.store.get(address, make)
    return out


def average(banks: list[FeatureBank], weights: list[float], how: Expansion, device: str) -> list[NDArray[np.float32]]:
    """Each bank's (N, D_m) unit rows; expanded queries come before the gallery as it was."""
    feats, n_query = features_of(banks, "averages (ensemble.expand)"), banks[0].n_query
    if how.name == "database":
        return query_expansion.database(feats, how.k, alpha=how.alpha, weights=weights, device=device)
    queries = query_expansion.queries(feats, n_query, how.k, alpha=how.alpha, weights=weights, device=device)
    return [np.concatenate([q, a[n_query:]]) for q, a in zip(queries, feats, strict=True)]
