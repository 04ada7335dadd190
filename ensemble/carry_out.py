"""Run a build: check everything, then run the rounds and the stages, then write the record.

The options and the Python call are in ensemble/build.py. This file imports torch, which takes seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from configs.console.call import as_words
from configs.console.progress import Progress, duration
from configs.console.quoting import command, runs_option
from configs.errors import ConfigError
from configs.external_members import text_of, words_of
from configs.installed import need
from configs.load import load_build_config
from configs.schema import CALIBRATED, BuildConfig, Member
from configs.store.store import Store
from ensemble.build import options
from ensemble.kernels.device import cuda_problem
from ensemble.pipeline.auto_settings import asks_auto, settle_k
from ensemble.pipeline.calibration_stage import check_calibration
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.folds import FoldPlan, make_folds, plan_folds, with_plans
from ensemble.pipeline.run_stages import run_stages
from ensemble.pipeline.stages import BuildPlan, member_features_address, plan_build, record_address
from ensemble.planning.budget import Budget, check_alone, counterparts, within_budget
from ensemble.planning.build_cost import BuildCost, check_room, with_timed_steps
from ensemble.planning.fold_cost import with_folds
from ensemble.planning.monitor import make_progress, monitor_build
from ensemble.planning.parallelism import choose_parallelism
from ensemble.planning.speed import at_speed
from ensemble.planning.summary import describe
from ensemble.pseudo.rounds import describe_rounds, run_rounds
from ensemble.results.build_record import Evaluation, Record, TrainingFolds, describe_left_out, point_at, save_record
from ensemble.results.lineage import made_from
from models.data.drawn import draw_people
from models.data.layouts import read_layout, settle_layout
from models.data.pairs import check_handing_in
from models.data.split import Benchmark
from models.device import choose_device, choose_precision, made_with
from models.distributed.process_group import ALONE, ProcessGroup, join_process_group
from models.distributed.worker import run_follower
from models.extraction.views import check_views
from models.registry import check


def carry_out_command(args: argparse.Namespace) -> None:
    """Run one build and print its folder. Under torchrun, the first process leads and the others follow.

    Args:
        args: as `ensemble.build.options()` parses them.
    """
    with join_process_group(args.device) as team:
        if args.parallel != 1 and team.size > 1:
            raise ConfigError(
                f"--parallel under torchrun, whose {team.size} processes train one member together: leave --parallel "
                "out, or start python -m ensemble.build without torchrun for a member in each process"
            )
        if args.budget and team.size > 1:
            raise ConfigError(
                f"--budget under torchrun: a step of one process says nothing of what {team.size} together take; "
                "leave --budget out, and give --set recipe.epochs=N"
            )
        if team.is_leader:
            key = carry_out(args, team)
            team.send(None)
            if key:
                print(args.runs / key)
        else:
            run_follower(team, args.device, args.workers)


def load_benchmark(config: BuildConfig, data: Path | None, runs: Path, progress: Progress) -> Benchmark:
    """Read the data set. The synthetic people of layout `drawn` are drawn first.

    Raises:
        ConfigError: the competition needs a data set, and none is given.
    """
    competition = config.competition
    if data is None and competition.data:
        data = Path(competition.data)
    if data is None and competition.layout == "drawn":
        progress.say("drawing people (--data DIR takes your own)")
        data = draw_people(runs / "drawn-people")
    if data is None:
        raise ConfigError(f"competition {competition.name!r} needs its pictures: --data DIR names their folder")
    layout, why = settle_layout(competition.layout, data)
    if why:
        progress.say(why)
    learned_from = bool(config.members) or asks_auto(config.ensemble)
    wanted = ("train", "query", "gallery") if learned_from else ("query", "gallery")
    benchmark = read_layout(layout, data, competition.skip, wanted)
    for finding in benchmark.found:
        progress.say(str(finding))
    check_handing_in(competition, benchmark)
    return benchmark


def load_config(args: argparse.Namespace, members: Sequence[str], sets: Sequence[str]) -> BuildConfig:
    """The configuration of a build of these members with these changes. `check_networks` checks the networks.

    Raises:
        ConfigError: the configuration is not valid.
    """
    return load_build_config(
        members,
        competition=args.competition or ("own" if args.data else "drawn"),
        layout=args.layout,
        recipe=args.recipe,
        sets=[*sets, *([f"ensemble.rounds={args.rounds}"] if args.rounds is not None else [])],
    )


def check_networks(config: BuildConfig, kept: Collection[str] = ()) -> None:
    """Check each member's network, recipe and views, before any work.

    Args:
        kept: members that need no check: they are cached, trained by this recipe. Building a network imports
            torchvision and torch's compiler, which takes more than a second.

    Raises:
        ConfigError: a network, recipe or view is not valid.
    """
    for member in config.members:
        if member.name not in kept:
            check(member, config.recipe_of(member))
            check_views(member, config)


def kept_members(context: BuildContext, plan: BuildPlan) -> set[str]:
    """The members whose weights and features are cached."""
    return {
        name
        for name, address in plan.members.items()
        if context.store.has(address)
        and all(context.store.has(member_features_address(context, plan, name, test)) for test in plan.tests)
    }


def prepare_build(
    args: argparse.Namespace, team: ProcessGroup, progress: Progress
) -> tuple[BuildContext, BuildPlan, Benchmark]:
    """Check everything and compute the plan. Nothing is trained or extracted yet."""
    if args.layout and not args.data:
        raise ConfigError(f"--layout {args.layout} without --data: name the folder that is laid out so")
    if args.budget:
        check_alone(args.set)
    config = load_config(args, words_of(args.members), args.set)
    check_calibration(config.ensemble, args.folds, args.holdout)
    fresh = not (args.runs / "members").is_dir()  # nothing is cached: check the networks before reading data
    if fresh:
        check_networks(config)
    device, why = choose_device(args.device)
    if device.type == "cuda" and (problem := cuda_problem()):  # before hours of training
        raise ConfigError(f"the retrieval cannot use {why}: {problem}. Mend that, or leave it out with --device cpu")
    precision = choose_precision(config.recipe.precision, device)
    progress.say(f"device {why}; {precision}" + (f"; {team.size} processes" if team.size > 1 else ""))
    store = Store(args.runs, progress.say, progress.tell, made_with())
    store.sweep()
    context = BuildContext(config, store, progress, device.type, precision, args.workers, team)
    benchmark = load_benchmark(config, args.data, args.runs, progress)
    ensemble, chosen = settle_k(config.ensemble, benchmark.train)
    if chosen:
        progress.say(chosen)
        context = replace(context, config=config.model_copy(update={"ensemble": ensemble}))
    plan = plan_build(context, benchmark, args.holdout)
    if not fresh:
        check_networks(config, kept_members(context, plan))
    context, parallel = choose_parallelism(args.parallel, context, plan)
    if parallel:
        progress.say(parallel)
    return context, plan, benchmark


def other_family(args: argparse.Namespace, config: BuildConfig) -> tuple[Member, ...]:
    """The members of the other family, for comparison. Empty if there are none, or if the recipe does not fit them."""
    names = counterparts([m.name for m in config.members])
    if not names or any(m.own for m in config.members):
        return ()
    try:
        other = load_config(args, names, [s for s in args.set if not s.strip().startswith("ensemble.")])
        check_networks(other)
        return other.members
    except ConfigError:
        return ()


def make_all(
    context: BuildContext, plan: BuildPlan, planned: FoldPlan | None
) -> tuple[dict[str, Evaluation], TrainingFolds | None]:
    """The members, their rankings, and the folds; these first, where the rankings are learned on them."""
    plan = with_plans(plan, planned)
    first = make_folds(context, planned) if planned and context.config.ensemble.fusion == CALIBRATED else None
    evaluations = run_stages(context, plan)
    return evaluations, first or (make_folds(context, planned) if planned else None)


def carry_out(args: argparse.Namespace, team: ProcessGroup = ALONE, *, quiet: bool = False) -> str | None:
    """Run a build from its configuration to its record.

    Returns:
        The build's key; None for a dry run.
    """
    if "tensorboard" in args.log:
        need("report", "tensorboard")
    progress = make_progress(args.log, quiet)
    begun = time.monotonic()
    context, plan, benchmark = prepare_build(args, team, progress)
    config, store, chosen = context.config, context.store, None

    def foresee(context: BuildContext, plan: BuildPlan) -> tuple[BuildPlan, BuildCost, str]:
        planned = plan_folds(context, plan, args.folds, keep=not args.dry_run) if args.folds else None
        known, needs, told = describe_rounds(context, with_plans(plan, planned), benchmark)
        if planned:
            needs, told = with_folds(context, plan, planned, needs)
        return known, needs, told

    if args.budget:
        budget = Budget(
            args.budget, begun, other_family(args, config), lambda context, plan: foresee(context, plan)[1], args.folds
        )
        context, plan, chosen = within_budget(context, plan, budget)
        config = context.config
    known, needs, told = foresee(context, plan)
    needs = at_speed(context, needs, chosen.speed) if chosen else needs
    progress.say(describe(context, known))
    if told:
        progress.say(told)
    if args.dry_run:
        progress.say(str(with_timed_steps(context, known, needs)))
        return None
    progress.say(str(needs))
    check_room(store, needs)
    members = text_of(words_of(args.members))  # one spelling, so that one request has one record
    asked = command("ensemble.build", *as_words(options(), vars(args) | {"members": members}))
    with monitor_build(context, needs, asked, args.log):
        plan, rounds = run_rounds(context, plan, benchmark)
        evaluations, folds = make_all(context, plan, plan_folds(context, plan, args.folds) if args.folds else None)
        left_out = benchmark.left_out()
        named = [asdict(evaluation) for evaluation in evaluations.values()]
        made_of = made_from(store, named, rounds, [chosen.key] if chosen else [], folds and asdict(folds))
        record = Record(
            config.model_dump(mode="json"), str(benchmark.root), asked, evaluations, rounds, left_out, made_of, folds
        )
        address = record_address(context, record)
        store.get(address, lambda folder: save_record(folder, record))
    point_at(store, address.key)
    told = f"; {describe_left_out(left_out)}" if left_out else ""
    progress.say(
        f"done in {duration(time.monotonic() - begun)}{told}; next: {command('submit.make', *runs_option(args.runs))}"
    )
    return address.key
