"""The last stage of a build: sum the members' distances, re-rank, and save the ranked lists."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ConfigError
from configs.schema import Ensemble, Expansion
from configs.store.store import Address
from ensemble.features.feature_bank import FeatureBank, feature_arrays, open_banks, save_bank
from ensemble.fusion import partitions
from ensemble.fusion.calibrated_pairs import load as load_calibrations
from ensemble.fusion.strategy import FusionSettings, fusion_settings, leaving_out, rerank_each_then_sum, rerank_request
from ensemble.neighbours import LeftOut, distance_blocks
from ensemble.neighbours.knn import Neighbours, load_neighbours, nearest, save_neighbours
from ensemble.neighbours.search_cost import estimate_search_cost
from ensemble.neighbours.similarity import Penalties
from ensemble.pipeline.context import BuildContext
from ensemble.rerank import query_expansion
from ensemble.results import cache_keys
from ensemble.results.build_record import DomainsAndTracks
from ensemble.results.pseudo_settings import guessed_labels
from ensemble.results.ranking import Ranking, save_ranking
from ensemble.results.whitening_settings import whitened_features


def make_ranking(
    context: BuildContext,
    test: str,
    addressed: dict[str, Address],
    camids: NDArray[np.int64],
    kinds: DomainsAndTracks | None,
    groups: NDArray[np.int64],
    left_out: LeftOut | None = None,
    learned: Address | None = None,
) -> tuple[Address | None, Address]:
    """Sum the members' distances, re-rank, and save the lists. Domains and tracks are searched separately.

    camids, groups: (N,) queries first, -1 is unknown. left_out: gallery images that the queries' lists exclude.
    learned: the calibrations of fusion calibrated.
    """
    if kinds is not None:
        return None, rank_partitions(context, test, addressed, kinds, left_out)
    settings, top_k = context.config.ensemble, context.config.competition.top_k
    mix = fusion_settings(settings, list(addressed))
    weights = dict(zip(addressed, mix.weights, strict=True))
    near, address = addresses_of(context, test, addressed, camids, groups, left_out, learned)
    penalties, read = mix.penalties(camids), mix.groups(groups)

    def load() -> list[FeatureBank]:
        return open_banks(context.store, {name: a.key for name, a in addressed.items()})

    def make(folder: Path) -> None:
        banks = load()
        feats, values, n_query = [b.feats for b in banks], list(weights.values()), banks[0].n_query
        given: dict[str, Any] = {"weights": values, "penalties": penalties, "top_k": top_k, "device": context.device}
        given |= leaving_out(left_out)
        if mix.each_first:
            known = replace(mix, learned=load_calibrations(context.store.open(learned.key))) if learned else mix
            order, dist = rank_each(context, test, addressed, banks, known, camids, groups, left_out)
        else:
            kept = neighbours_kept(mix)
            found = [find_neighbours(context, a, load, values, kept, top_k, penalties, read, left_out) for a in near]
            order, dist = mix.reranker.lists(found[0] if found else None, feats, n_query, **given)
        signature = f"members={'+'.join(f'{n}*{w:g}' for n, w in weights.items())}|rerank={address.request['rerank']}"
        signature += notes(settings)
        save_ranking(folder, Ranking(banks[0].query_names, banks[0].gallery_names, order, dist, signature))

    context.store.get(address, make)
    return (near[0] if near and not mix.each_first else None), address


def addresses_of(
    context: BuildContext,
    test: str,
    addressed: dict[str, Address],
    camids: NDArray[np.int64],
    groups: NDArray[np.int64],
    left_out: LeftOut | None = None,
    learned: Address | None = None,
) -> tuple[list[Address], Address]:
    """The addresses of the neighbours that a test's ranking reads, and of the ranking.

    There are no neighbours, those of the summed distance, or those of each member.
    """
    settings, top_k = context.config.ensemble, context.config.competition.top_k
    mix = fusion_settings(settings, list(addressed))
    weights = dict(zip(addressed, mix.weights, strict=True))
    summed: list[dict[str, float]] = [weights]
    if not mix.reranker.neighbours_read(2):
        summed = []
    elif mix.each_first:
        summed = [{name: 1.0} for name, weight in weights.items() if weight > 0]
    read: dict[str, Any] = {
        "penalty": cache_keys.camera_penalty(mix.camera, camids),
        "groups": cache_keys.labels_hash(groups) if mix.grouped else None,
        "left_out": left_out,
    }
    near = [
        cache_keys.neighbours_address(
            test, {name: addressed[name] for name in part}, part, neighbours_kept(mix), top_k, **read
        )
        for part in summed
    ]
    request = {**rerank_request(settings), **({"learned": learned.digest} if learned else {})}
    return near, cache_keys.ranking_address(test, addressed, weights, settings, request, top_k, **read)


def notes(settings: Ensemble) -> str:
    """The part of a ranking's signature for pseudo labels and whitening."""
    values = guessed_labels(settings) | whitened_features(settings)
    return "".join(f"|{key}={value}" for key, value in values.items())


def neighbours_kept(mix: FusionSettings) -> int:
    """Neighbours to save per row."""
    return max(cache_keys.KEEP, mix.reranker.neighbours_read(sys.maxsize))


def rank_partitions(
    context: BuildContext,
    test: str,
    addressed: dict[str, Address],
    kinds: DomainsAndTracks,
    left_out: LeftOut | None = None,
) -> Address:
    """Search each domain separately, each track as one image, and save the lists of all queries."""
    settings, top_k = context.config.ensemble, context.config.competition.top_k
    mix = fusion_settings(settings, list(addressed))
    weights = dict(zip(addressed, mix.weights, strict=True))
    request = rerank_request(settings)
    address = cache_keys.ranking_address(
        test, addressed, weights, settings, request, top_k, asdict(kinds), None, left_out
    )

    def make(folder: Path) -> None:
        banks = open_banks(context.store, {name: a.key for name, a in addressed.items()})
        feats, n_query = [bank.feats for bank in banks], banks[0].n_query
        found = partitions.partitions_of(kinds, n_query, len(feats[0]))
        mixes = partitions.mixes_of(settings, list(addressed), found)
        blocks = partitions.blocks(mixes, feats, found, n_query, context.device, left_out)
        order, dist = distance_blocks.ranked(blocks, top_k, left_out=left_out)
        signature = (
            f"members={'+'.join(f'{n}*{w:g}' for n, w in weights.items())}|rerank="
            f"{partitions.describe(mixes, found, mix.weights)}"
        ) + notes(settings)
        save_ranking(folder, Ranking(banks[0].query_names, banks[0].gallery_names, order, dist, signature))

    context.store.get(address, make)
    return address


def rank_each(
    context: BuildContext,
    test: str,
    addressed: dict[str, Address],
    banks: list[FeatureBank],
    mix: FusionSettings,
    camids: NDArray[np.int64],
    groups: NDArray[np.int64],
    left_out: LeftOut | None = None,
) -> distance_blocks.Ranked:
    """Re-rank each member by its own cached neighbours, then sum. Other weights need no new search."""
    k, top_k = neighbours_kept(mix), context.config.competition.top_k
    used = [(bank, weight) for bank, weight in zip(banks, mix.weights, strict=True) if weight > 0]
    near, _ = addresses_of(context, test, addressed, camids, groups, left_out)
    penalties, read = mix.penalties(camids), mix.groups(groups)
    found: list[Neighbours | None] = [
        find_neighbours(context, address, partial(_only, bank), [1.0], k, top_k, penalties, read, left_out)
        for (bank, _), address in zip(used, near, strict=False)
    ] or [None] * len(used)
    feats, weights = [bank.feats for bank, _ in used], [weight for _, weight in used]
    stream = rerank_each_then_sum(mix, feats, found, banks[0].n_query, weights, context.device, camids, left_out)
    return distance_blocks.ranked(stream, top_k, left_out=left_out)


def find_neighbours(
    context: BuildContext,
    address: Address,
    load: Callable[[], list[FeatureBank]],
    weights: list[float],
    k: int,
    top_k: int,
    penalties: Penalties | None,
    groups: ArrayLike | None,
    left_out: LeftOut | None = None,
) -> Neighbours:
    """The fused neighbours, cached: another k1, k2 or lam needs no new search."""

    def make(folder: Path) -> None:
        banks = load()
        n, n_query, feats = len(banks[0].feats), banks[0].n_query, [b.feats for b in banks]
        dims = [f.shape[1] for f in feats]
        grouped = groups is not None
        bill = estimate_search_cost(
            n_query, n - n_query, dims, k=k, top_k=top_k, device=context.device, grouped=grouped
        )
        context.progress.say(f"neighbours of {n:,} images by {len(banks)} members: {bill}")
        with context.progress.task("neighbours, blocks done, per cent", 100) as step:
            told = 0.0

            def tell(done: int, of: int) -> None:
                nonlocal told
                step(100 * done / of - told)
                told = 100 * done / of

            given: dict[str, Any] = {"weights": weights, "penalties": penalties, "groups": groups}
            given |= {"device": context.device} | leaving_out(left_out)
            found = nearest(feats, min(k, n), n_query=n_query, top_k=top_k, progress=tell, **given)
        save_neighbours(folder, found)

    return load_neighbours(context.store.get(address, make).path)


def _only(bank: FeatureBank) -> list[FeatureBank]:
    return [bank]


def expanded_addresses(
    context: BuildContext, test: str, addressed: dict[str, Address], left_out: LeftOut | None = None
) -> dict[str, Address]:
    """The addresses of the members' expanded features; `addressed` itself if no expansion is set."""
    how, weights = context.config.ensemble.expand, _weights(context, addressed)
    if how is None:
        return addressed
    return {name: cache_keys.expanded_address(test, name, addressed, weights, how, left_out) for name in addressed}


def _weights(context: BuildContext, addressed: dict[str, Address]) -> dict[str, float]:
    return {name: context.config.ensemble.weights.get(name, 1.0) for name in addressed}


def expand_features(
    context: BuildContext, test: str, addressed: dict[str, Address], left_out: LeftOut | None = None
) -> dict[str, Address]:
    """Compute the members' expanded features unless cached; `addressed` itself if no expansion is set."""
    how = context.config.ensemble.expand
    if how is None:
        return addressed
    out, weights = expanded_addresses(context, test, addressed, left_out), _weights(context, addressed)

    @functools.cache
    def averaged() -> tuple[list[FeatureBank], list[NDArray[np.float32]]]:
        banks = open_banks(context.store, {name: a.key for name, a in addressed.items()})
        context.progress.say(f"{how.name} averaged with their {how.k} nearest, of weight cos^{how.alpha:g}")
        return banks, average(banks, list(weights.values()), how, context.device, left_out)

    for at, address in enumerate(out.values()):

        def make(folder: Path, at: int = at) -> None:
            banks, feats = averaged()
            save_bank(folder, feats[at], banks[at].query_names, banks[at].gallery_names)

        context.store.get(address, make)
    return out


def average(
    banks: list[FeatureBank], weights: list[float], how: Expansion, device: str, left_out: LeftOut | None = None
) -> list[NDArray[np.float32]]:
    """Each bank's averaged features, (N, D_m) unit rows. If only queries are expanded, the gallery is unchanged.

    Raises:
        ConfigError: only queries are expanded, but a query is also a gallery image and has one feature.
    """
    overlap = left_out is not None and left_out.overlaps
    if overlap and how.name != "database":
        raise ConfigError(
            "ensemble.expand=queries averages queries alone, and an image that is query and gallery has one feature: "
            "--set ensemble.expand.name=database averages every image"
        )
    feats, n_query = feature_arrays(banks, "averages (ensemble.expand)"), banks[0].n_query
    if how.name == "database":
        if overlap:
            union = left_out.union(len(feats[0]))  # type: ignore[union-attr]
            some = [a[union.rows] for a in feats]
            found = query_expansion.database(some, how.k, alpha=how.alpha, weights=weights, device=device)
            return [a[union.place] for a in found]
        return query_expansion.database(feats, how.k, alpha=how.alpha, weights=weights, device=device)
    queries = query_expansion.queries(feats, n_query, how.k, alpha=how.alpha, weights=weights, device=device)
    return [np.concatenate([q, a[n_query:]]) for q, a in zip(queries, feats, strict=True)]
