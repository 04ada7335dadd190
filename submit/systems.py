"""The systems of a build that are scored: each member alone, the members' sum, and the re-ranked sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from configs.schema import Ensemble
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank
from ensemble.fusion import partitions
from ensemble.fusion.calibrated_pairs import learned_for
from ensemble.fusion.strategy import distance_stream, fusion_settings
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.knn import load_neighbours
from ensemble.results.build_record import Evaluation, all_camids, all_groups


@dataclass(frozen=True)
class System:
    """One system to score.

    Attributes:
        members, settings: for the signature.
        stream: function that returns its distances in blocks.
        plain: whether these are the summed distances without re-ranking.
    """

    name: str
    members: str
    settings: str
    stream: Callable[[], Iterator[distance_blocks.Block]]
    plain: bool = True


def systems_of(
    store: Store, evaluation: Evaluation, banks: Sequence[FeatureBank], ensemble: Ensemble, device: str
) -> list[System]:
    """One system per member, then `sum` for several members, then the sum re-ranked or by domain, as in the plan."""
    mix = fusion_settings(ensemble, [bank.member for bank in banks], learned=learned_for(store, evaluation))
    feats, n_query = [bank.feats for bank in banks], banks[0].n_query
    prints = [bank.fingerprint.split("/")[1] for bank in banks]
    members = "+".join(f"{p}*{w:g}" for p, w in zip(prints, mix.weights, strict=True))
    left_out = evaluation.left_out
    given: dict[str, Any] = {"device": device, "left_out": left_out}
    systems = [
        System(bank.member, p, "none", partial(distance_blocks.blocks, bank.feats, n_query, **given))
        for bank, p in zip(banks, prints, strict=True)
    ]
    if len(banks) > 1:
        summed = partial(distance_blocks.blocks, feats, n_query, weights=mix.weights, **given)
        systems.append(System("sum", members, "none", summed))

    def reranked() -> Iterator[distance_blocks.Block]:
        near = load_neighbours(store.open(evaluation.neighbours)) if evaluation.neighbours else None
        of: dict[str, Any] = {"camids": all_camids(evaluation), "groups": all_groups(evaluation)}
        return distance_stream(mix, feats, n_query, near=near, **given, **of)

    if evaluation.kinds is not None:
        found = partitions.partitions_of(evaluation.kinds, n_query, len(feats[0]))
        mixes = partitions.mixes_of(ensemble, [bank.member for bank in banks], found)
        apart = partial(partitions.blocks, mixes, feats, found, n_query, device, left_out)
        name = "sum" if len(banks) > 1 else banks[0].member
        name += ", re-ranked" if any(own.reranks for own in mixes) else ""
        described = partitions.describe(mixes, found, mix.weights)
        systems.append(System(name + partitions.name_suffix(ensemble), members, described, apart, plain=False))
    elif mix.reranks or mix.camera or mix.calibrated:
        how = "re-ranked" if mix.reranks else "penalised" if mix.camera else "calibrated"
        whole = "sum of re-ranked" if mix.each_first else f"sum, {how}"
        if mix.calibrated:
            whole = "calibrated sum" if how == "calibrated" else f"calibrated sum of {how}"
        name = whole if len(banks) > 1 else f"{banks[0].member}, {how}"
        systems.append(System(name, members, mix.describe(), reranked, plain=False))
    return systems
