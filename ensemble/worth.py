"""Each member's contribution: its score alone, and the loss when it is left out: `python -m ensemble.worth`.

Scores use the build's weights, re-ranking, domains and tracks, and the competition's rule and list length.
Intervals come from a bootstrap over persons (`ensemble/metrics/bootstrap.py`); differences are paired by query.
The correlation is Pearson's r of the members' errors 1 - AP over queries. Members with correlated errors add little to
each other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from configs.console.command import CommandLine, run
from configs.console.progress import duration
from configs.console.tables import plain_table
from configs.schema import Competition, Ensemble
from configs.store.store import Address, Store
from ensemble.features.feature_bank import open_banks
from ensemble.fusion import partitions
from ensemble.fusion.calibrated_pairs import learned_for
from ensemble.fusion.strategy import FusionSettings, fusion_settings, rerank_request
from ensemble.kernels.device import check_device
from ensemble.metrics.bootstrap import Interval, difference, interval
from ensemble.metrics.competition_score import describe, parse
from ensemble.results.build_record import Evaluation
from ensemble.results.cache_keys import METRICS, TUNE, retrieval_code
from ensemble.results.manifests import training_seconds
from ensemble.results.open_evaluation import add_arguments, open_evaluation
from ensemble.tune.exact_scorer import ExactScorer, of_parts

WHAT = "Show each member's score alone, and how much the ensemble loses without the member."
EXAMPLE = """
  python -m ensemble.worth
  python -m ensemble.worth --runs runs --evaluation holdout
"""
WORTH = "worth.json"


@dataclass(frozen=True)
class MemberWorth:
    """One member.

    Attributes:
        name: of the member.
        weights: one per partition, in the order of their names.
        alone: total of the member alone.
        left_out: total of the ensemble minus its total without this member; None for a single member.
        seconds: of training; None if unknown.
    """

    name: str
    weights: tuple[float, ...]
    alone: Interval
    left_out: Interval | None
    seconds: float | None


@dataclass(frozen=True)
class Worth:
    """The contributions of all members.

    Attributes:
        members: one entry per member.
        total: of the ensemble.
        correlation: (M, M) of errors; 0 if a member's error is the same for all queries.
        signature: of the score.
    """

    members: tuple[MemberWorth, ...]
    total: Interval
    correlation: tuple[tuple[float, ...], ...]
    signature: str


def worth_of(
    store: Store, name: str, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> Worth | None:
    """The members' contributions in an evaluation, cached; None without identities.

    Args:
        name: of the evaluation: test or holdout.
    """
    if not evaluation.query_pids:
        return None
    request = {
        "evaluation": asdict(evaluation),
        "weights": ensemble.weights,
        "rerank": rerank_request(ensemble),
        "rule": {k: getattr(competition, k) for k in ("ap", "junk", "top_k")} | competition.score.model_dump(),
        "code": retrieval_code(METRICS, TUNE, Path(__file__)),
    }

    def make(folder: Path) -> None:
        banks = open_banks(store, evaluation.banks)
        names = [bank.fingerprint.split("/")[1] for bank in banks]
        judge = ExactScorer([bank.feats for bank in banks], names, evaluation, competition, device)
        members = list(evaluation.banks)
        mixes: tuple[FusionSettings, ...] = (
            fusion_settings(ensemble, members, learned=learned_for(store, evaluation)),
        )
        if evaluation.kinds is not None:
            apart = partitions.partitions_of(evaluation.kinds, judge.rows, len(judge.feats[0]))
            judge, mixes = of_parts(judge, apart), partitions.mixes_of(ensemble, members, apart)
        found = measure(judge, mixes, members)
        (folder / WORTH).write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")

    kept = store.get(Address("worth", name, request), make)
    return _read(json.loads((kept.path / WORTH).read_text(encoding="utf-8")), store, evaluation.banks)


def measure(judge: ExactScorer, mixes: Sequence[FusionSettings], members: list[str]) -> Worth:
    """Score the ensemble, each member alone, and the ensemble without each member; mixes: one, or one per partition."""
    persons = np.array(judge.evaluation.query_pids)
    whole = judge.totals(*mixes)
    found, errors = [], []
    for m, name in enumerate(members):
        alone = [replace(mix, weights=tuple(float(i == m) for i in range(len(members)))) for mix in mixes]
        others = [replace(mix, weights=tuple(0.0 if i == m else w for i, w in enumerate(mix.weights))) for mix in mixes]
        errors.append(1 - judge.score(*alone).ap_per_query)
        left = all(any(mix.weights) for mix in others)  # a weight remains in every partition
        lost = difference(whole, judge.totals(*others), groups=persons) if left else None
        weights = tuple(mix.weights[m] for mix in mixes)
        found.append(MemberWorth(name, weights, interval(judge.totals(*alone), groups=persons), lost, seconds=None))
    total = interval(whole, groups=persons)
    return Worth(tuple(found), total, correlation(np.array(errors)), judge.score(*mixes).signature)


def correlation(errors: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Pearson correlation of the rows of errors (M, Q). Queries with a NaN are left out; a constant row gives 0."""
    kept = errors[:, ~np.isnan(errors).any(axis=0)]
    centred = kept - kept.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    spread = np.outer(length, length)
    table = np.divide(centred @ centred.T, spread, out=np.zeros_like(spread), where=spread > 1e-12)
    return tuple(tuple(float(x) for x in row) for row in table)


def _read(raw: dict[str, Any], store: Store, banks: Mapping[str, str]) -> Worth:
    members = tuple(
        MemberWorth(
            row["name"],
            tuple(row["weights"]),
            Interval(**row["alone"]),
            Interval(**row["left_out"]) if row["left_out"] else None,
            training_seconds(store, banks[row["name"]]),
        )
        for row in raw["members"]
    )
    table = tuple(tuple(row) for row in raw["correlation"])
    return Worth(members, Interval(**raw["total"]), table, raw["signature"])


def main(argv: list[str] | None = None) -> None:
    """Print the contributions of the members of a build."""
    parser = CommandLine("python -m ensemble.worth", WHAT, EXAMPLE)
    add_arguments(parser)
    args = parser.parse_args(argv)
    check_device(args.device)
    case = open_evaluation(args)
    found = worth_of(case.store, case.name, case.evaluation, case.plan.ensemble, case.plan.competition, args.device)
    if found is not None:
        show(Console(highlight=False, width=None if sys.stdout.isatty() else 120), found, case.name)


def show(console: Console, found: Worth, name: str) -> None:
    """Print two tables: the contributions, and the correlation of errors."""
    console.print(f"{name}; {describe(found.signature)}; intervals over persons, 95 %", soft_wrap=True, markup=False)
    reranked = ", re-ranked" if parse(found.signature).get("rerank", "none") != "none" else ""
    table = plain_table([""], ["weight", f"alone{reranked}", "lost without it", "", "trained"])
    for member in found.members:
        lost = member.left_out
        verdict = "" if lost is None else "more than chance" if lost.beyond_zero else "could be chance"
        weights = member.weights if len(set(member.weights)) > 1 else member.weights[:1]
        cells = [
            ", ".join(f"{w:g}" for w in weights),
            format_interval(member.alone),
            format_interval(lost, "+") if lost else "-",
            verdict,
        ]
        table.add_row(member.name, *cells, "-" if member.seconds is None else duration(member.seconds))
    table.add_row("all", "", format_interval(found.total), "", "", "")
    console.print(table)
    if len(found.members) > 1:
        console.print("\ncorrelation of errors over queries")
        table = plain_table([""], [member.name for member in found.members])
        for member, row in zip(found.members, found.correlation, strict=True):
            table.add_row(member.name, *(f"{x:.2f}" for x in row))
        console.print(table)


def format_interval(one: Interval, sign: str = "") -> str:
    """An interval in per cent: `61.4 (57.2 to 63.8)`."""
    mean, low, high = (format(100 * x, f"{sign}.1f") for x in (one.mean, one.low, one.high))
    return f"{mean} ({low} to {high})"


if __name__ == "__main__":
    run(main)
