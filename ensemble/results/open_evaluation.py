"""Options `--runs`, `--build` and `--evaluation`, and the evaluation that they name."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from configs.console.store_options import add_build, add_device, add_runs, check_runs
from configs.errors import ConfigError, DataError
from configs.schema import BuildConfig
from configs.store.store import Store
from ensemble.results.build_record import Evaluation, open_build

TEST, HOLDOUT = "test", "holdout"


@dataclass(frozen=True)
class OpenEvaluation:
    """One evaluation of one build.

    Attributes:
        key: of the build.
        name: of the evaluation.
    """

    store: Store
    key: str
    plan: BuildConfig
    name: str
    evaluation: Evaluation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name an evaluation."""
    add_runs(parser)
    add_build(parser)
    parser.add_argument(
        "--evaluation", metavar="NAME", help="test or holdout (default: holdout if the build has one, else test)"
    )
    add_device(parser)


def open_evaluation(args: argparse.Namespace) -> OpenEvaluation:
    """Open the build and its evaluation.

    Raises:
        ResultError: no such folder, or no such build.
        ConfigError: no such evaluation.
        DataError: the evaluation has no identities.
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
            f"evaluation {name!r} of {key} has no identities, so it cannot be scored. Build with --holdout 0.2 "
            "to hold out training identities, or make a split of them with python -m ensemble.split"
        )
    return OpenEvaluation(store, key, plan, name, evaluation)
