"""Weights and re-rank settings from the kept features of a build, without training: `python -m ensemble.tune`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from configs.artifact import Address
from configs.command import CommandLine, run
from configs.errors import ConfigError
from configs.load import load_ensemble
from configs.progress import Progress, duration
from configs.version import code_version
from ensemble import crossfit, tuned_table
from ensemble.addresses import retrieval_code
from ensemble.case import Case, add_arguments, open_case
from ensemble.judge import Judge
from ensemble.kept import open_banks
from ensemble.mix import Mix, mix_of
from ensemble.seek import Grid
from ensemble.trial import Trial

WHAT = (
    "Choose member weights and re-rank settings on kept features, without training: chosen on one half of the persons "
    "and scored on the other, and taken only where the gain is more than chance."
)
EXAMPLE = """
  python -m ensemble.tune
  python -m ensemble.tune --runs runs --evaluation holdout --seed 1
"""
TUNED = "tuned.json"
HERE = Path(__file__).parent
TELL_EVERY_S = 10.0


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.tune", WHAT, EXAMPLE)
    add_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the halves and the bootstrap (default: 0)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Tune one evaluation, or read what came of it before; print it."""
    args = parse(argv)
    case = open_case(args)
    grid = Grid()
    address = tuned_address(case, grid, args.seed)

    def make(folder: Path) -> None:
        found = tune_case(case, grid, args.seed, args.device, Progress())
        (folder / TUNED).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    kept = case.store.get(address, make)
    found = json.loads((kept.path / TUNED).read_text(encoding="utf-8"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    for one in found["problems"]:
        tuned_table.show(console, case, one)
    print(kept.path / TUNED)


def tuned_address(case: Case, grid: Grid, seed: int) -> Address:
    """Where the outcome lies: everything it depends on."""
    rules = case.plan.competition
    names = ("tune", "crossfit", "seek", "trial", "judge", "rule", "metrics", "bootstrap", "reweigh")
    request = {
        "evaluation": asdict(case.evaluation),
        "rule": {k: getattr(rules, k) for k in ("ap", "junk", "top_k")} | rules.score.model_dump(),
        "built": mix_of(case.plan.ensemble, list(case.evaluation.banks)).__dict__ | {"seed": seed},
        "grid": asdict(grid),
        "code": retrieval_code() + code_version(*(HERE / f"{name}.py" for name in names)),
    }
    return Address("tuned", f"{case.key.split('/')[1]}-{case.name}", json.loads(json.dumps(request)))


def problems(case: Case, device: str) -> dict[str, Judge]:
    """What is tuned by itself: one search over everything. A domain with settings of its own would be one more."""
    banks = open_banks(case.store, case.evaluation.banks)
    given = [bank.member for bank in banks if not isinstance(bank.feats, np.ndarray)]
    if given:
        raise ConfigError(
            f"{given[0]}: distances from outside; tuning wants features. Build without it to tune the rest"
        )
    if (case.plan.ensemble.domains, case.plan.ensemble.tracks) != ("none", "none"):
        raise ConfigError(
            f"{case.key} searched by domains or tracks, which is not tuned yet: build with --set ensemble.domains=none "
            "--set ensemble.tracks=none to tune one search over everything"
        )
    names = [bank.fingerprint.split("/")[1] for bank in banks]
    return {"all": Judge([bank.feats for bank in banks], names, case.evaluation, case.plan.competition, device)}


def tune_case(case: Case, grid: Grid, seed: int, device: str, progress: Progress) -> dict[str, Any]:
    """The outcome as JSON holds it."""
    return {
        "problems": [
            tune_one(name, judge, case, grid, seed, progress) for name, judge in problems(case, device).items()
        ]
    }


def tune_one(name: str, judge: Judge, case: Case, grid: Grid, seed: int, progress: Progress) -> dict[str, Any]:
    """Tune one problem, and write down everything that was seen."""
    members = list(case.evaluation.banks)
    base = replace(mix_of(load_ensemble(), members), weights=(1.0,) * len(members))
    built = mix_of(case.plan.ensemble, members)
    pids = np.array(judge.evaluation.query_pids)
    begun = time.monotonic()
    crossfit.halves(pids, ~np.isnan(judge.totals(base)), seed)  # too few persons: said before the work
    trial = Trial(judge, grid.reach)
    progress.say(
        f"candidates of {trial.source.n:,} images by {len(members)} members: {duration(time.monotonic() - begun)}"
    )
    found = crossfit.tune(_telling(trial, progress), judge.totals, pids, base, grid, seed)
    return {
        "name": name,
        "members": members,
        "persons": found.persons,
        "queries": found.queries,
        "signature": judge.score(base).signature,
        "built": asdict(built) | {"total": judge.score(built).total},
        "base": asdict(base) | {"total": found.base_total},
        "rungs": [asdict(rung) | {"optimism": rung.optimism, "taken": rung.taken} for rung in found.rungs],
        "mix": asdict(found.mix),
        "sets": sets(found.mix, members),
        "tried": len(trial.kept),
        "a_minute": trial.rate,
        "seconds": trial.seconds,
        "least_proved": min(trial.proved.values(), default=1.0),
        "depth": trial.depth,
        "seed": seed,
    }


def sets(mix: Mix, members: Sequence[str]) -> list[str]:
    """What follows --set in a build that is to be mixed so."""
    weights = ", ".join(f"{name}: {w:g}" for name, w in zip(members, mix.weights, strict=True))
    out = [f"ensemble.weights={{{weights}}}", f"ensemble.rerank={mix.rerank}"]
    if mix.rerank != "none":
        out += [f"ensemble.{key}={value:g}" for key, value in mix.setting.items()] + [f"ensemble.fusion={mix.fusion}"]
    return out


def _telling(trial: Trial, progress: Progress) -> Callable[[Mix], NDArray[np.float64]]:
    """The trial's totals, and a line now and then about how far it is."""
    last = time.monotonic()

    def totals(mix: Mix) -> NDArray[np.float64]:
        nonlocal last
        found, now = trial.totals(mix), time.monotonic()
        if now - last > TELL_EVERY_S:
            last = now
            progress.say(f"  {len(trial.kept):,} settings tried, {trial.rate:,.0f} a minute")
        return found

    return totals


if __name__ == "__main__":
    run(main)
