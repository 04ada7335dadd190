"""What of an evaluation is tuned by itself: one search over everything, or each domain; and what it makes together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.console.quoting import flow
from configs.errors import ConfigError
from configs.schema import Ensemble
from ensemble.features.feature_bank import open_banks
from ensemble.fusion import partitions
from ensemble.fusion.strategy import Mix, mix_of
from ensemble.metrics.bootstrap import difference
from ensemble.results.open_evaluation import Case
from ensemble.tune.exact_scorer import Judge, of_parts

Held = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]  # (Q,) pids, totals before, after


def problems(case: Case, device: str) -> dict[str, Judge]:
    """By name: `all`, or a domain. Tracks are found as one in each, as the build found them.

    Raises:
        ConfigError: a member that gives distances.
    """
    banks = open_banks(case.store, case.evaluation.banks)
    given = [bank.member for bank in banks if not isinstance(bank.feats, np.ndarray)]
    if given:
        raise ConfigError(
            f"{given[0]}: distances from outside; tuning wants features. Build without it to tune the rest"
        )
    names = [bank.fingerprint.split("/")[1] for bank in banks]
    judge = Judge([bank.feats for bank in banks], names, case.evaluation, case.plan.competition, device)
    kinds = case.evaluation.kinds
    if kinds is None:
        return {partitions.ALL: judge}
    found = partitions.of_kinds(kinds, judge.rows, len(judge.feats[0]))
    return {part.name: of_parts(judge, [part]) for part in found}


def built_mix(case: Case, members: Sequence[str], judge: Judge) -> Mix:
    """What the build was made with, of this problem."""
    settings = case.plan.ensemble
    return partitions.mixes_of(settings, members, judge.parts)[0] if judge.parts else mix_of(settings, members)


def together(held: Iterable[Held], seed: int) -> dict[str, Any]:
    """The totals of all queries, each answered in its own problem, before and after; a person may ask in several."""
    pids, before, after = (np.concatenate(column) for column in zip(*held, strict=True))
    gain = difference(after, before, groups=pids, seed=seed)
    return {"base": float(np.nanmean(before)), "total": float(np.nanmean(after)), "gain": asdict(gain)}


def sets(mix: Mix, members: Sequence[str]) -> list[str]:
    """What follows --set in a build that is to be mixed so."""
    return [f"ensemble.{key}={text}" for key, text in _keys(mix, members).items()]


def domain_sets(mixes: Mapping[str, Mix], members: Sequence[str], ensemble: Ensemble) -> list[str]:
    """The same of a build by domains or tracks. mixes: of every part, by name."""
    tracks = [f"ensemble.tracks={ensemble.tracks}"] if ensemble.tracks != "none" else []
    if ensemble.domains == "none":
        return [*sets(mixes[partitions.ALL], members), *tracks]
    own = ", ".join(
        f"{flow(name)}: {{{', '.join(f'{key}: {text}' for key, text in _keys(mix, members).items())}}}"
        for name, mix in mixes.items()
    )
    return [f"ensemble.domains={ensemble.domains}", f"ensemble.domain_settings={{{own}}}", *tracks]


def _keys(mix: Mix, members: Sequence[str]) -> dict[str, str]:
    """Keys of `ensemble`, or of a domain's own settings, as YAML has their values."""
    weights = ", ".join(f"{flow(name)}: {w:g}" for name, w in zip(members, mix.weights, strict=True))
    out = {"weights": f"{{{weights}}}", "rerank": mix.rerank}
    if mix.rerank != "none":
        out |= {key: f"{value:g}" for key, value in mix.setting.items()} | {"fusion": mix.fusion}
    return out
