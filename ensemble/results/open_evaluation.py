"""Options `--runs`, `--build` and `--evaluation`, and the evaluation that they name."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from configs.console.store_options import add_build, add_device, add_runs, check_runs
from configs.errors import ConfigError, DataError
from configs.schema import BuildConfig
from configs.store.store import Store
from ensemble.results.build_record import Evaluation, FoldFeatures, Record, open_build

TEST, HOLDOUT, TRAIN = "test", "holdout", "train"


@dataclass(frozen=True)
class OpenEvaluation:
    """One evaluation of one build.

    Attributes:
        key: of the build.
        name: of the evaluation; `train` if settings are chosen on folds.
        evaluation: of the folds: the test, whose lists theirs are shaped like.
        folds: features of the training images by members that were not trained on them.
    """

    store: Store
    key: str
    plan: BuildConfig
    name: str
    evaluation: Evaluation
    folds: tuple[FoldFeatures, ...] = ()


def add_arguments(
    parser: argparse.ArgumentParser, names: str = "test or holdout (default: holdout if the build has one, else test)"
) -> None:
    """Add the options that name an evaluation. names: for its help."""
    add_runs(parser)
    add_build(parser)
    parser.add_argument("--evaluation", metavar="NAME", help=names)
    add_device(parser)


def open_evaluation(args: argparse.Namespace) -> OpenEvaluation:
    """Open the build and its evaluation.

    Raises:
        ResultError: no such folder, or no such build.
        ConfigError: no such evaluation.
        DataError: the evaluation has no identities.
    """
    return _open(args, *_opened(args))


def open_tuned(args: argparse.Namespace) -> OpenEvaluation:
    """As `open_evaluation`; `train`, and the default of a build with folds, are these.

    Raises:
        ConfigError: there are no folds, or the build changes features or searches by parts, which folds do not.
    """
    store, key, record, plan = _opened(args)
    if args.evaluation != TRAIN and (args.evaluation is not None or record.folds is None):
        return _open(args, store, key, record, plan)
    if record.folds is None:
        raise ConfigError(
            f"--evaluation {TRAIN}: {key} has no features of its training images by members that were not trained on "
            "them; build with --folds 5"
        )
    e = plan.ensemble
    keys = {name: getattr(e, name) for name in ("whiten", "expand", "domains", "tracks", "group_by")}
    changed = next((name for name, value in keys.items() if value not in (None, "none", "camera")), None)
    if changed:
        raise ConfigError(
            f"--evaluation {TRAIN}: {key} has ensemble.{changed}, and the folds have the plain features as one search. "
            f"Build without it, or choose with --evaluation {TEST}"
        )
    return OpenEvaluation(store, key, plan, TRAIN, record.evaluations[TEST], tuple(record.folds.folds))


def _opened(args: argparse.Namespace) -> tuple[Store, str, Record, BuildConfig]:
    check_runs(args.runs)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr), lends=True)
    return store, *open_build(store, args.build)


def _open(args: argparse.Namespace, store: Store, key: str, record: Record, plan: BuildConfig) -> OpenEvaluation:
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
