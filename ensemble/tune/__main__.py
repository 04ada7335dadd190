"""Tune weights and re-ranking settings on a build's cached features, without training: `python -m ensemble.tune`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from configs.console.command import CommandLine, at_least, run
from configs.console.progress import Progress, duration
from configs.console.quoting import yaml_flow
from configs.errors import DataError
from configs.load import load_ensemble
from configs.schema import CALIBRATED, SUM_FIRST, Ensemble
from configs.store.store import Address
from ensemble.fusion import partitions
from ensemble.fusion.calibrated_pairs import learned_for
from ensemble.fusion.partitions import ALL
from ensemble.fusion.strategy import FusionSettings, fusion_settings, rerank_request
from ensemble.kernels.device import check_device
from ensemble.metrics.bootstrap import difference
from ensemble.rerank.registry import RERANKERS, is_grouped, name_of
from ensemble.results.build_record import Evaluation, all_groups
from ensemble.results.cache_keys import METRICS, MODELS, retrieval_code
from ensemble.results.open_evaluation import OpenEvaluation, add_arguments, open_tuned
from ensemble.tune import boards, calibrated, cross_fitting, table
from ensemble.tune.boards import Boards, FastBoards, NotWhitened, problems
from ensemble.tune.cross_fitting import TuningResult, TuningStep, persons_asking, too_few
from ensemble.tune.ensemble_selection import SearchSpace
from models.data.heldout.fold_board import shape_of_lists

Held = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]  # (Q,) pids, totals before, after
WHAT = (
    "Choose member weights and re-rank settings on kept features, without training: chosen on one half of the persons "
    "and scored on the other, and taken only where the gain is more than chance."
)
EXAMPLE = """
  python -m ensemble.tune
  python -m ensemble.tune --runs runs --evaluation holdout --seed 1
  python -m ensemble.tune --evaluation train     on training identities, of a build with --folds 5
"""
TUNED = "tuned.json"
SHRINKAGES = (0.1, 0.5)  # of whitening, to try
HERE = Path(__file__).parent
TELL_EVERY_S = 10.0


def grid_of(case: OpenEvaluation) -> SearchSpace:
    """The settings to try. They include the build's own re-ranking settings, such as those that `auto` chose.

    Whitening is tried only if the build did not whiten or average its features and uses no domains or tracks.
    """
    settings, grid = case.plan.ensemble, SearchSpace()
    built = fusion_settings(settings, ())
    name, known = name_of(built.reranker), dict(grid.known)
    known[name] = tuple({str(options): options for options in (*known[name], built.options)}.values())
    free = (settings.whiten, settings.expand, case.evaluation.kinds) == (None, None, None)
    grid = replace(grid, known=known, whitened=(None, *SHRINKAGES) if free else (None,))
    of_folds = bool(case.folds) and settings.group_by != "camera"  # training images have no domains
    groups = [all_groups(case.evaluation), *(np.array(fold.camids) for fold in case.folds)]
    known_groups = case.evaluation.kinds is None and not of_folds and all((of_each >= 0).any() for of_each in groups)
    return grid if known_groups else grid.without(name for name in grid.searched if is_grouped(RERANKERS[name]))


def defaults(built: Ensemble) -> Ensemble:
    """The settings of `ensemble.yaml`. A value `auto` there is replaced by the build's value."""
    found = load_ensemble()
    settled = {key: getattr(built, key) for key in ("k1", "k2") if getattr(found, key) == "auto"}
    settled["group_by"] = built.group_by
    settled |= {"fusion": SUM_FIRST} if found.fusion == CALIBRATED else {}  # that is compared apart
    return found.model_copy(update=settled)


def built_mix(case: OpenEvaluation, members: Sequence[str], judge: Boards) -> FusionSettings:
    """The build's own settings for this problem. Calibrations learned on the folds do not apply to the folds."""
    settings = case.plan.ensemble
    if judge.parts:
        return partitions.mixes_of(settings, members, judge.parts)[0]
    learned = None if case.folds else learned_for(case.store, case.evaluation)
    return fusion_settings(settings, members, learned=learned)


def together(held: Iterable[Held], seed: int) -> dict[str, Any]:
    """The totals of all queries over all problems, before and after. A person may have queries in several problems."""
    pids, before, after = (np.concatenate(column) for column in zip(*held, strict=True))
    gain = difference(after, before, groups=pids, seed=seed)
    return {"base": float(np.nanmean(before)), "total": float(np.nanmean(after)), "gain": asdict(gain)}


def sets(mix: FusionSettings, members: Sequence[str]) -> list[str]:
    """The `--set` values for a build with these settings."""
    return [f"ensemble.{key}={text}" for key, text in _keys(mix, members).items()]


def domain_sets(mixes: Mapping[str, FusionSettings], members: Sequence[str], ensemble: Ensemble) -> list[str]:
    """The same for a build by domains or tracks. mixes: settings by part name."""
    tracks = [f"ensemble.tracks={ensemble.tracks}"] if ensemble.tracks != "none" else []
    if ensemble.domains == "none":
        return [*sets(mixes[partitions.ALL], members), *tracks]
    own = ", ".join(
        f"{yaml_flow(name)}: {{{', '.join(f'{key}: {text}' for key, text in _keys(mix, members).items())}}}"
        for name, mix in mixes.items()
    )
    return [f"ensemble.domains={ensemble.domains}", f"ensemble.domain_settings={{{own}}}", *tracks]


def _keys(mix: FusionSettings, members: Sequence[str]) -> dict[str, str]:
    """Keys of `ensemble` or of a domain's settings -> values in YAML."""
    weights = ", ".join(f"{yaml_flow(name)}: {w:g}" for name, w in zip(members, mix.weights, strict=True))
    options = {key: f"{value:g}" for key, value in mix.options.items()}
    own = {key: value for key, value in options.items() if key not in Ensemble.model_fields}
    named = ", ".join(f"{key}: {value}" for key, value in ({"name": name_of(mix.reranker)} | own).items())
    out = {"weights": f"{{{weights}}}", "rerank": f"{{{named}}}" if own else name_of(mix.reranker)}
    out |= {key: value for key, value in options.items() if key not in own}
    out |= {"fusion": mix.fusion} if mix.reranks else {}
    out |= {"group_by": mix.group_by} if mix.grouped and mix.group_by != "camera" else {}
    return out | ({"whiten": f"{{name: test, shrinkage: {mix.whitened:g}}}"} if mix.whitened is not None else {})


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.tune", WHAT, EXAMPLE)
    add_arguments(parser, "train (the folds), holdout or test (default: the first of these that the build has)")
    parser.add_argument(
        "--seed",
        type=at_least(0),
        default=0,
        metavar="N",
        help="of the halves, the bootstrap, and the lists that are drawn from folds (default: 0)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Tune one evaluation, unless the result is cached. Print the result."""
    args = parse(argv)
    check_device(args.device)
    case = open_tuned(args)
    grid = grid_of(case)
    address = tuned_address(case, grid, args.seed)

    def make(folder: Path) -> None:
        found = tune_case(case, grid, args.seed, args.device, Progress())
        (folder / TUNED).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    kept = case.store.get(address, make)
    found = json.loads((kept.path / TUNED).read_text(encoding="utf-8"))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    table.show(console, case, found)
    if kept.path == case.store.path(address):
        print(kept.path / TUNED)


def tuned_address(case: OpenEvaluation, grid: SearchSpace, seed: int) -> Address:
    """The address of the tuning result, from everything it depends on."""
    rules = case.plan.competition
    request = {
        "evaluation": asdict(case.evaluation),
        "rule": {k: getattr(rules, k) for k in ("ap", "junk", "top_k")} | rules.score.model_dump(),
        "built": {"weights": case.plan.ensemble.weights, "rerank": rerank_request(case.plan.ensemble)},
        "seed": seed,
        "grid": grid.as_dict(),
        "code": retrieval_code(METRICS, HERE, MODELS / "data" / "heldout"),
    } | ({"folds": [asdict(fold) for fold in case.folds]} if case.folds else {})
    return Address("tuned", f"{case.key.split('/')[1]}-{case.name}", json.loads(json.dumps(request)))


def tune_case(case: OpenEvaluation, grid: SearchSpace, seed: int, device: str, progress: Progress) -> dict[str, Any]:
    """The tuning result as JSON: each problem, all queries together, and the options to build with.

    Raises:
        DataError: every problem has too few query identities. ConfigError: a member has distances and no features.
    """
    members = list(case.evaluation.banks)
    try:
        judges = problems(case, device, seed, [x for x in grid.whitened if x is not None])
    except NotWhitened as e:
        progress.say(f"whitened features are not tried: {e}")
        grid = replace(grid, whitened=(None,))
        judges = problems(case, device, seed)
    base = replace(fusion_settings(defaults(case.plan.ensemble), members), weights=(1.0,) * len(members))
    found, kept, held, mixes = list[dict[str, Any]](), dict[str, str](), list[Held](), dict[str, FusionSettings]()
    chosen = dict[str, FusionSettings]()
    for name, judge in judges.items():
        pids, before = judge.pids, judge.totals(base)
        few = too_few(persons_asking(pids, ~np.isnan(before)))
        if judge.parts and not judge.parts[0].units:
            few = "the gallery has nothing of it"
        if few:
            kept[name], mixes[name] = few, base
            held.append((pids, before, before))
            continue
        tuned, told = tune_one(name, judge, case, base, grid, seed, len(judges), progress)
        found.append(told)
        mixes[name], chosen = tuned.mix, {rung.name: rung.chosen[2] for rung in tuned.rungs}
        held.append((pids, tuned.before, tuned.after))
    if not found:
        raise DataError(kept[max(judges, key=lambda name: len(judges[name].pids))])
    domains = case.evaluation.kinds is not None
    line = domain_sets(mixes, members, case.plan.ensemble) if domains else sets(mixes[ALL], members)
    whole = together(held, seed) if len(judges) > 1 else None
    told = {"problems": found, "kept": kept, "together": whole, "sets": line}
    if case.folds:
        told["folds"] = [board_shape(judge.evaluation) for judge in judges[ALL].judges]
        told["elsewhere"] = elsewhere(case, base, chosen, seed, device)
    return told


def board_shape(evaluation: Evaluation) -> dict[str, Any]:
    """Sizes of a board's lists, for the table."""
    shape = shape_of_lists(
        evaluation.query_pids, evaluation.query_camids, evaluation.gallery_pids, evaluation.gallery_camids
    )
    sizes = [images for images, _ in shape.persons]
    return {
        "queries": len(evaluation.query_camids),
        "gallery": len(evaluation.gallery_camids),
        "persons": len(sizes),
        "images": float(np.median(sizes)) if sizes else None,
        "distractors": shape.distractors,
    }


def elsewhere(
    case: OpenEvaluation, base: FusionSettings, chosen: Mapping[str, FusionSettings], seed: int, device: str
) -> dict[str, Any] | None:
    """The totals on the test of each choice made on the folds, compared with the defaults; None without labels."""
    e = case.evaluation
    if not e.query_pids:
        return None
    pids, judge = np.array(e.query_pids), boards.scorer_of(case, device)
    white = {mix.whitened for mix in chosen.values() if mix.whitened is not None}
    judge = boards.with_whitened(judge, e.banks, sorted(white))
    before = judge.totals(base)
    return {name: together([(pids, before, judge.totals(mix))], seed) for name, mix in chosen.items()}


def tune_one(
    name: str,
    judge: Boards,
    case: OpenEvaluation,
    base: FusionSettings,
    grid: SearchSpace,
    seed: int,
    of: int,
    progress: Progress,
) -> tuple[TuningResult, dict[str, Any]]:
    """Tune one of `of` problems. Returns the result, and the same as JSON."""
    members, built = list(case.evaluation.banks), built_mix(case, list(case.evaluation.banks), judge)
    pids, begun = judge.pids, time.monotonic()
    most = max(grid.most_neighbours(), base.reranker.neighbours_read(judge.images))
    grouped = is_grouped(base.reranker) or any(is_grouped(RERANKERS[name]) for name in grid.searched)
    trials = {white: judge.fast(most, white, grouped=grouped) for white in (None, *judge.judges[0].white)}
    trial = trials[None]
    took = duration(time.monotonic() - begun)
    progress.say(f"{name}: candidates of {trial.images:,} images by {len(members)} members: {took}")
    chance = judge.chance(seed)
    found = cross_fitting.tune(_telling(trials, progress), judge.totals, pids, base, grid, seed, of, chance)
    return found, {
        "name": name,
        "members": members,
        "persons": found.persons,
        "queries": found.queries,
        "gallery": trial.gallery,
        "signature": judge.signature(base),
        "built": built.as_dict() | {"total": None if built.calibrated and not built.learned else judge.total(built)},
        "base": base.as_dict() | {"total": found.base_total},
        "rungs": [_rung(rung) for rung in found.rungs],
        "calibrated": calibrated.compare(judge, base, seed),
        "mix": found.mix.as_dict(),
        "tried": sum(one.tried for one in trials.values()),
        "a_minute": trial.rate,
        "seconds": sum(one.seconds for one in trials.values()),
        "depth": trial.depth,
        "seed": seed,
    }


def _rung(rung: TuningStep) -> dict[str, Any]:
    chosen = [mix.as_dict() for mix in rung.chosen]
    return asdict(rung) | {"chosen": chosen, "optimism": rung.optimism, "taken": rung.taken}


def _telling(
    trials: Mapping[float | None, FastBoards], progress: Progress
) -> Callable[[FusionSettings], NDArray[np.float64]]:
    """The objective: totals by the scorer with the same whitening. It also prints progress from time to time."""
    last = time.monotonic()

    def totals(mix: FusionSettings) -> NDArray[np.float64]:
        nonlocal last
        trial, now = trials[mix.whitened], time.monotonic()
        found = trial.totals(replace(mix, whitened=None))
        if now - last > TELL_EVERY_S:
            last = now
            tried = sum(one.tried for one in trials.values())
            progress.say(f"  {tried:,} settings tried, {trial.rate:,.0f} a minute")
        return found

    return totals


if __name__ == "__main__":
    run(main)
