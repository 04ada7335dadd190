"""The systems that a build is measured as: each member alone, the members' sum, and that re-ranked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from configs.schema import Ensemble
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank
from ensemble.fusion import partitions
from ensemble.fusion.strategy import mix_of
from ensemble.fusion.strategy import stream as mixed
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.knn import load_neighbours
from ensemble.results.build_record import Evaluation, all_camids


@dataclass(frozen=True)
class System:
    """One way to answer. members, settings: for the signature. stream: its distances, block by block, when called."""

    name: str
    members: str
    settings: str
    stream: Callable[[], Iterator[distance_blocks.Block]]


def systems_of(
    store: Store, evaluation: Evaluation, banks: Sequence[FeatureBank], ensemble: Ensemble, device: str
) -> list[System]:
    """A system a member, then `sum` where there are several, then that re-ranked, or by domains, as the plan has it."""
    mix = mix_of(ensemble, [bank.member for bank in banks])
    feats, n_query = [bank.feats for bank in banks], banks[0].n_query
    prints = [bank.fingerprint.split("/")[1] for bank in banks]
    members = "+".join(f"{p}*{w:g}" for p, w in zip(prints, mix.weights, strict=True))
    systems = [
        System(bank.member, p, "none", partial(distance_blocks.blocks, bank.feats, n_query, device=device))
        for bank, p in zip(banks, prints, strict=True)
    ]
    if len(banks) > 1:
        summed = partial(distance_blocks.blocks, feats, n_query, weights=mix.weights, device=device)
        systems.append(System("sum", members, "none", summed))

    def reranked() -> Iterator[distance_blocks.Block]:
        near = load_neighbours(store.open(evaluation.neighbours)) if evaluation.neighbours else None
        return mixed(mix, feats, n_query, near=near, device=device, camids=all_camids(evaluation))

    if evaluation.kinds is not None:
        found = partitions.of_kinds(evaluation.kinds, n_query, len(feats[0]))
        mixes = partitions.mixes_of(ensemble, [bank.member for bank in banks], found)
        apart = partial(partitions.blocks, mixes, feats, found, n_query, device)
        reranks = any(own.rerank != "none" for own in mixes)
        name = ("sum" if len(banks) > 1 else banks[0].member) + ", re-ranked" * reranks
        systems.append(
            System(name + partitions.by(ensemble), members, partitions.describe(mixes, found, mix.weights), apart)
        )
    elif mix.rerank != "none" or mix.camera:
        how = "re-ranked" if mix.rerank != "none" else "penalised"
        whole = "sum of re-ranked" if mix.each else f"sum, {how}"
        name = whole if len(banks) > 1 else f"{banks[0].member}, {how}"
        systems.append(System(name, members, mix.describe(), reranked))
    return systems
