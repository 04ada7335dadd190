"""Weights and re-rank settings from the kept features of a build, without training: `python -m ensemble.tune`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from configs.artifact import Address
from configs.command import CommandLine, run, whole
from configs.errors import DataError
from configs.load import load_ensemble
from configs.progress import Progress, duration
from configs.version import code_version
from ensemble import crossfit, tuned_table
from ensemble.addresses import rerank_settings, retrieval_code
from ensemble.case import Case, add_arguments, open_case
from ensemble.crossfit import Tuned, persons_asking, too_few
from ensemble.judge import Judge
from ensemble.mix import Mix, mix_of, needed
from ensemble.parts import ALL
from ensemble.problems import Held, built_mix, domain_sets, problems, sets, together
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
    parser.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="of the halves and the bootstrap (default: 0)"
    )
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
    tuned_table.show(console, case, found)
    print(kept.path / TUNED)


def tuned_address(case: Case, grid: Grid, seed: int) -> Address:
    """Where the outcome lies: everything it depends on."""
    rules = case.plan.competition
    names = ["tune", "problems", "crossfit", "seek", "judge", "rule", "metrics", "listed", "ids", "bootstrap"]
    names += ["trial", "pairs", "unroll", "reweigh"]
    request = {
        "evaluation": asdict(case.evaluation),
        "rule": {k: getattr(rules, k) for k in ("ap", "junk", "top_k")} | rules.score.model_dump(),
        "built": {"weights": case.plan.ensemble.weights, "rerank": rerank_settings(case.plan.ensemble)},
        "seed": seed,
        "grid": asdict(grid),
        "code": retrieval_code() + code_version(*(HERE / f"{name}.py" for name in names)),
    }
    return Address("tuned", f"{case.key.split('/')[1]}-{case.name}", json.loads(json.dumps(request)))


def tune_case(case: Case, grid: Grid, seed: int, device: str, progress: Progress) -> dict[str, Any]:
    """The outcome as JSON holds it: of each problem, of all queries together, and the line to build with.

    Raises:
        DataError: too few persons ask, in every problem. ConfigError: a member that gives distances.
    """
    judges, members = problems(case, device), list(case.evaluation.banks)
    base = replace(mix_of(load_ensemble(), members), weights=(1.0,) * len(members))
    found, kept, held, mixes = list[dict[str, Any]](), dict[str, str](), list[Held](), dict[str, Mix]()
    for name, judge in judges.items():
        pids, before = np.array(judge.evaluation.query_pids), judge.totals(base)
        few = too_few(persons_asking(pids, ~np.isnan(before)))
        if judge.parts and not judge.parts[0].units:
            few = "the gallery has nothing of it"
        if few:
            kept[name], mixes[name] = few, base
            held.append((pids, before, before))
            continue
        tuned, told = tune_one(name, judge, case, base, grid, seed, len(judges), progress)
        found.append(told)
        mixes[name] = tuned.mix
        held.append((pids, tuned.before, tuned.after))
    if not found:
        raise DataError(kept[max(judges, key=lambda name: len(judges[name].evaluation.query_pids))])
    domains = case.evaluation.kinds is not None
    line = domain_sets(mixes, members, case.plan.ensemble) if domains else sets(mixes[ALL], members)
    whole = together(held, seed) if len(judges) > 1 else None
    return {"problems": found, "kept": kept, "together": whole, "sets": line}


def tune_one(
    name: str, judge: Judge, case: Case, base: Mix, grid: Grid, seed: int, of: int, progress: Progress
) -> tuple[Tuned, dict[str, Any]]:
    """Tune one problem of so many, and write down everything that was seen."""
    members, built = list(case.evaluation.banks), built_mix(case, list(case.evaluation.banks), judge)
    pids, begun = np.array(judge.evaluation.query_pids), time.monotonic()
    trial = Trial(judge, max(grid.reach, needed(base, len(judge.feats[0]))))
    took = duration(time.monotonic() - begun)
    progress.say(f"{name}: candidates of {trial.source.n:,} images by {len(members)} members: {took}")
    chance = judge.chance(seed)
    found = crossfit.tune(_telling(trial, progress), judge.totals, pids, base, grid, seed, of, chance)
    return found, {
        "name": name,
        "members": members,
        "persons": found.persons,
        "queries": found.queries,
        "gallery": trial.source.n - trial.n_query,
        "signature": judge.score(base).signature,
        "built": asdict(built) | {"total": judge.score(built).total},
        "base": asdict(base) | {"total": found.base_total},
        "rungs": [asdict(rung) | {"optimism": rung.optimism, "taken": rung.taken} for rung in found.rungs],
        "mix": asdict(found.mix),
        "tried": len(trial.kept),
        "a_minute": trial.rate,
        "seconds": trial.seconds,
        "depth": trial.depth,
        "seed": seed,
    }


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
