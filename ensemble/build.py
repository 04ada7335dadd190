"""Train the members, keep their features, sum their distances, re-rank: `python -m ensemble.build`.

In Python: `import ensemble` and `ensemble.build(members=..., data=...)`; docs/python.md.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from configs.console.call import as_words, call_as, read_call, settings
from configs.console.command import CommandLine, at_least, run
from configs.console.progress import Progress, duration
from configs.console.quoting import RUNS, command, runs_option
from configs.console.store_options import add_device, add_runs
from configs.errors import ConfigError
from configs.external_members import text_of, words_of
from configs.installed import need
from configs.load import load_build_config
from configs.schema import BuildConfig, Member
from configs.store.store import Store
from ensemble.finished import Build, open_build
from ensemble.kernels.device import cuda_problem
from ensemble.pipeline.auto_settings import asks_auto, settle_k
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.run_stages import run_stages
from ensemble.pipeline.stages import BuildPlan, plan_build, record_address
from ensemble.planning.budget import Budget, budget_text, check_alone, counterparts, within_budget
from ensemble.planning.build_cost import check_room, with_timed_steps
from ensemble.planning.monitor import make_progress, monitor_build
from ensemble.planning.parallelism import choose_parallelism, members_at_a_time
from ensemble.planning.speed import at_speed
from ensemble.planning.summary import describe
from ensemble.pseudo.rounds import describe_rounds, run_rounds
from ensemble.results.build_record import Record, describe_left_out, point_at, save_record
from ensemble.results.lineage import made_from
from models.data.drawn import draw_people
from models.data.layouts import AUTO, LAYOUTS, read_layout, settle_layout
from models.data.pairs import check_handing_in
from models.data.split import Benchmark
from models.device import choose_device, choose_precision, made_with
from models.distributed.process_group import ALONE, ProcessGroup, join_process_group
from models.distributed.worker import run_follower
from models.extraction.views import check_views
from models.registry import check

FIVE = "r50,rx50,ibn_a,ibn_b,se_ibn_a"
WHAT = "Train the members, keep their features, sum their distances, re-rank. What exists is not made again."
EXAMPLE = f"""
  python -m ensemble.build --members {FIVE}
  python -m submit.make

  With no --data it draws people to train on. A folder of your own:
  python -m ensemble.build --members r50,ibn_a --data DIR --layout market1501 --set recipe.epochs=60
"""


def options() -> CommandLine:
    """The options of the command; `build` has a keyword for each."""
    parser = CommandLine("python -m ensemble.build", WHAT, EXAMPLE)
    parser.add_argument(
        "--members",
        default=FIVE,
        metavar="NAMES",
        help="names from configs/members.yaml, timm:MODEL (docs/recipe.md), and files of features (docs/desk.md); "
        "default: all five",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of the data set (default: drawn people)")
    parser.add_argument("--layout", metavar="NAME", help=f"the folder layout: {', '.join((AUTO, *LAYOUTS))}")
    parser.add_argument(
        "--competition",
        metavar="NAME",
        help="of configs/competitions, or any FILE.yaml: layout, format, K, AP and junk rules",
    )
    parser.add_argument("--recipe", metavar="NAME", help="of configs/recipes, such as strong or mgn, or any FILE.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as recipe.epochs=3; may be repeated"
    )
    parser.add_argument(
        "--holdout", type=float, metavar="SHARE", help="keep this share of identities aside to score on"
    )
    parser.add_argument(
        "--rounds",
        type=at_least(1),
        metavar="N",
        help="2: label the unlabelled images, and train again with them (default: 1)",
    )
    add_runs(parser)
    hidden = argparse.SUPPRESS
    parser.add_argument("--out", dest="runs", type=Path, default=hidden, help=hidden)  # its earlier name
    add_device(parser)
    parser.add_argument(
        "--workers", type=at_least(0), default=0, metavar="N", help="loader processes; the pixels are the same for any"
    )
    parser.add_argument(
        "--parallel",
        type=members_at_a_time,
        default=1,
        metavar="N",
        help="members trained at a time, each in a process of its own, the GPUs dealt in turn (default: 1); auto: a "
        "member on each GPU, on one GPU what it holds, on a CPU 1. Every byte is that of one after another, with the "
        "same number of threads (OMP_NUM_THREADS)",
    )
    parser.add_argument("--budget", type=budget_text, metavar="TIME", help="such as 20m: as many epochs as fit into it")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what is kept, what would be made again and why, and the cost; stop"
    )
    parser.add_argument(
        "--log",
        action="append",
        default=[],
        choices=("tensorboard", "json"),
        help="curves in DIR/logs for tensorboard --logdir; json: events instead of words (DIR/logs/build.jsonl always)",
    )
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return options().parse_args(argv)


def load_benchmark(plan: BuildConfig, data: Path | None, runs: Path, progress: Progress) -> Benchmark:
    """Read the data set the plan is for; the drawn people are drawn first.

    Raises:
        ConfigError: a competition with data of its own, and none given.
    """
    competition = plan.competition
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
    learned_from = bool(plan.members) or asks_auto(plan.ensemble)
    wanted = ("train", "query", "gallery") if learned_from else ("query", "gallery")
    benchmark = read_layout(layout, data, competition.skip, wanted)
    for finding in benchmark.found:
        progress.say(str(finding))
    check_handing_in(competition, benchmark)
    return benchmark


def main(argv: list[str] | None = None) -> None:
    """Carry out one build and record it; of the processes that torchrun starts, the first does, with the others."""
    args = parse(argv)
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


def build(
    members: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = FIVE,
    *,
    data: str | os.PathLike[str] | None = None,
    layout: str | None = None,
    competition: str | os.PathLike[str] | None = None,
    recipe: str | os.PathLike[str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = (),
    holdout: float | None = None,
    rounds: int | None = None,
    runs: str | os.PathLike[str] = RUNS,
    device: str = "auto",
    workers: int = 0,
    parallel: int | str = 1,
    budget: str | None = None,
    dry_run: bool = False,
    log: str | Sequence[str] = (),
    quiet: bool = False,
) -> Build | Any:
    """Carry out one build as the command does: the same checks, the same results in the same places.

    Args:
        members: names from configs/members.yaml, and files of features; a list of them, or text with commas.
        data: the folder of the data set; None draws people. layout: its folder layout, such as market1501.
        competition: of configs/competitions, or a FILE.yaml. recipe: of configs/recipes, or a FILE.yaml.
        set: changes, such as {"recipe.epochs": 3, "ensemble.lam": 0.5}, or ["recipe.epochs=3"].
        holdout: the share of identities that is kept aside to score on.
        rounds: 2 labels the unlabelled images and trains again with them.
        runs: the folder of results.
        device: auto, cpu or cuda. workers: loader processes. parallel: members trained at a time, or "auto".
        budget: the time that the whole may take, such as "20m"; the epochs are chosen by it.
        dry_run: say what would be made and what it costs, and return None.
        log: tensorboard, json, or both.
        quiet: say nothing but warnings; else what the command says goes to standard error.

    Returns:
        The finished build; None of a dry run.

    Raises:
        ReidError: what ends the command with status 2, with the same sentence.
    """
    given = locals() | {"members": text_of(members), "set": settings(set)}
    del given["quiet"]
    args = read_call(options(), given)
    key = carry_out(args, ALONE, quiet=quiet)
    return open_build(args.runs, key) if key else None


def load_config(args: argparse.Namespace, members: Sequence[str], sets: Sequence[str]) -> BuildConfig:
    """The plan of a build of these members with these changes, each network and recipe checked.

    Raises:
        ConfigError: something of it cannot be.
    """
    plan = load_build_config(
        members,
        competition=args.competition or ("own" if args.data else "drawn"),
        layout=args.layout,
        recipe=args.recipe,
        sets=[*sets, *([f"ensemble.rounds={args.rounds}"] if args.rounds is not None else [])],
    )
    for member in plan.members:
        check(member, plan.recipe_of(member))
        check_views(member, plan)
    return plan


def prepare_build(
    args: argparse.Namespace, team: ProcessGroup, progress: Progress
) -> tuple[BuildContext, BuildPlan, Benchmark]:
    """Everything checked, and what is to make named; no work is begun."""
    if args.layout and not args.data:
        raise ConfigError(f"--layout {args.layout} without --data: name the folder that is laid out so")
    if args.budget:
        check_alone(args.set)
    plan = load_config(args, words_of(args.members), args.set)
    device, why = choose_device(args.device)
    if device.type == "cuda" and (problem := cuda_problem()):  # said now, and not after hours of training
        raise ConfigError(f"the retrieval cannot use {why}: {problem}. Mend that, or leave it out with --device cpu")
    precision = choose_precision(plan.recipe.precision, device)
    progress.say(f"device {why}; {precision}" + (f"; {team.size} processes" if team.size > 1 else ""))
    store = Store(args.runs, progress.say, progress.tell, made_with())
    store.sweep()
    job = BuildContext(plan, store, progress, device.type, precision, args.workers, team)
    benchmark = load_benchmark(plan, args.data, args.runs, progress)
    ensemble, chosen = settle_k(plan.ensemble, benchmark.train)
    if chosen:
        progress.say(chosen)
        job = replace(job, plan=plan.model_copy(update={"ensemble": ensemble}))
    work = plan_build(job, benchmark, args.holdout)
    job, parallel = choose_parallelism(args.parallel, job, work)
    if parallel:
        progress.say(parallel)
    return job, work, benchmark


def other_family(args: argparse.Namespace, plan: BuildConfig) -> tuple[Member, ...]:
    """The counterparts of a build's members, for comparison; none where the recipe has no use for them."""
    names = counterparts([m.name for m in plan.members])
    if not names or any(m.own for m in plan.members):
        return ()
    try:
        return load_config(args, names, [s for s in args.set if not s.strip().startswith("ensemble.")]).members
    except ConfigError:
        return ()


def carry_out(args: argparse.Namespace, team: ProcessGroup, *, quiet: bool = False) -> str | None:
    """Everything from the plan to the record: the build's key; None of a dry run."""
    if "tensorboard" in args.log:
        need("report", "tensorboard")
    progress = make_progress(args.log, quiet)
    begun = time.monotonic()
    job, work, benchmark = prepare_build(args, team, progress)
    plan, store, chosen = job.plan, job.store, None
    if args.budget:
        budget = Budget(
            args.budget,
            begun,
            other_family(args, plan),
            lambda job, work: describe_rounds(job, work, benchmark)[1],
        )
        job, work, chosen = within_budget(job, work, budget)
        plan = job.plan
    known, needs, told = describe_rounds(job, work, benchmark)
    needs = at_speed(job, needs, chosen.speed) if chosen else needs
    progress.say(describe(job, known))
    if told:
        progress.say(told)
    if args.dry_run:
        progress.say(str(with_timed_steps(job, known, needs)))
        return None
    progress.say(str(needs))
    check_room(store, needs)
    members = text_of(words_of(args.members))  # one spelling: what is asked for has one record
    asked = command("ensemble.build", *as_words(options(), vars(args) | {"members": members}))
    with monitor_build(job, needs, asked, args.log):
        work, rounds = run_rounds(job, work, benchmark)
        evaluations = run_stages(job, work)
        left_out = benchmark.left_out()
        named = [asdict(evaluation) for evaluation in evaluations.values()]
        made_of = made_from(store, named, rounds, [chosen.key] if chosen else [])
        record = Record(
            plan.model_dump(mode="json"), str(benchmark.root), asked, evaluations, rounds, left_out, made_of
        )
        address = record_address(job, record)
        store.get(address, lambda folder: save_record(folder, record))
    point_at(store, address.key)
    told = f"; {describe_left_out(left_out)}" if left_out else ""
    progress.say(
        f"done in {duration(time.monotonic() - begun)}{told}; next: {command('submit.make', *runs_option(args.runs))}"
    )
    return address.key


def script() -> None:
    """The command `reid-build`."""
    run(main)


call_as(__name__, build)

if __name__ == "__main__":
    script()
