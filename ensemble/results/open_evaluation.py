"""The evaluation of a finished build that a command is asked about: `--runs`, `--build`, `--evaluation`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from configs.console.store_options import add_build, add_device, add_runs, check_runs
from configs.errors import ConfigError, DataError
from configs.schema import Plan
from configs.store.store import Store
from ensemble.results.build_record import Evaluation, open_build

TEST, HOLDOUT = "test", "holdout"


@dataclass(frozen=True)
class Case:
    """One evaluation of one build. key: of the build. name: of the evaluation."""

    store: Store
    key: str
    plan: Plan
    name: str
    evaluation: Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that name a case."""
    add_runs(parser)
    add_build(parser)
    parser.add_argument(
        "--evaluation", metavar="NAME", help="test or holdout (default: holdout where the build has one, else test)"
    )
    add_device(parser)


def open_case(args: argparse.Namespace) -> Case:
    """Open the build, and its evaluation.

    Raises:
        ResultError: no such folder, no such build, or none at all. ConfigError: no such evaluation.
        DataError: it has no identities.
    """
    check_runs(args.runs)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr), lends=True)
    key, record, plan = open_build(store, args.build)
    name = args.evaluation or (HOLDOUT if HOLDOUT in record.evaluations else TEST)
    if name not in record.evaluations:
        raise ConfigError(
            f"--evaluation {name!r}: {key} has {', '.join(record.evaluations)}"
            + ("; build with --holdout 0.2 to have one" if name == HOLDOUT else "")
        )
    evaluation = record.evaluations[name]
    if not evaluation.query_pids:
        raise DataError(
            f"evaluation {name!r} of {key} has no identities, so nothing can be scored on it. Build with --holdout 0.2 "
            "to keep training identities aside, or make a split of them with python -m ensemble.split"
        )
    return Case(store, key, plan, name, evaluation)
