"""Cluster the images of the last build, or name their identities: `python -m submit.clusters`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.console.command import CommandLine, at_least, run
from configs.console.store_options import add_build, add_device, add_runs
from configs.errors import ConfigError, SubmissionError
from ensemble.clusters.evaluation_graph import EvaluationGraph, graph_of_evaluation
from ensemble.clusters.named import answers_of
from ensemble.clusters.registry import METHODS, Method, describe, method_of
from ensemble.clusters.tuned import Tuned, tune_clusters, tune_identities
from ensemble.finished import Build, open_build
from ensemble.kernels.device import check_device
from ensemble.metrics.identity_metrics import NEW
from ensemble.metrics.named_score import NamedScore
from models.data.layouts import read_layout, settle_layout
from submit.build_scores import SCORE
from submit.formats import LABEL_FORMATS
from submit.formats.base import Fault
from submit.formats.label_csv import NEW_INDIVIDUAL
from submit.label_submission import LabelRules, lines_of, rules_of, score_labels
from submit.make import check_folder, write_folder

WHAT = (
    "Cluster the images of the last build: one row a query, image_id,cluster or image_id,identity. A pair of images "
    "outside each other's lists counts as distance 1. With format identities_csv, the identities of the gallery are "
    "known and never merge; an image that joins none is new_individual."
)
EXAMPLE = """
  python -m ensemble.build --data DIR --set "competition.junk=itself" --holdout 0.2
  python -m submit.clusters
  python -m submit.clusters --format identities_csv --method average --threshold 0.4
"""
AUTO = "auto"
TEST, HOLDOUT = "test", "holdout"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.clusters", WHAT, EXAMPLE)
    parser.add_argument("--method", choices=tuple(METHODS), default="average", help="default: average")
    parser.add_argument(
        "--threshold",
        type=lambda text: None if text == AUTO else float(text),
        metavar="D",
        help="largest distance, 0 to below 1; auto chooses it on the holdout, or on a test with labels (default: auto)",
    )
    parser.add_argument("--least", type=at_least(2), metavar="N", help="min_samples of dbscan (default: 2)")
    parser.add_argument(
        "--format", choices=tuple(LABEL_FORMATS), help="default: the competition's, if it is one of these; clusters_csv"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of the halves (default: 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: submissions/<the build's name>-clusters")
    add_runs(parser)
    add_build(parser)
    add_device(parser)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Threshold:
    """The method with its threshold, where that came from, and the lines that say so."""

    method: Method
    source: str
    tuned: Tuned | None = None

    def lines(self) -> list[str]:
        """How it was chosen, with the looked-at score and the honest one side by side."""
        if self.tuned is None:
            return []
        choice, name = self.tuned.choice, self.tuned.score
        told = [
            f"threshold {choice.threshold:g}, chosen on {self.source} by {name}: looked-at "
            f"{100 * choice.looked_at:.1f}, honest {100 * choice.honest:.1f} (halves of the identities chose "
            f"{choice.halves[0]:g} and {choice.halves[1]:g})"
        ]
        if self.tuned.hidden:
            told.append(f"  {self.tuned.hidden:,} identities of its gallery were treated as new")
        if self.source == TEST:
            told.append("note: the threshold was chosen on the labels of the test; the scores below are looked-at")
        return told


def settle_method(args: argparse.Namespace, build: Build, graphs: dict[str, EvaluationGraph], named: bool) -> Threshold:
    """The method with a given threshold, or with one chosen on labels.

    Raises:
        ConfigError: a bad option, or no labels to choose on. DataError: too few identities.
    """
    options: dict[str, Any] = {} if args.least is None else {"least": args.least}
    if named and args.method == "dbscan":
        raise ConfigError("dbscan could join two known identities: identities_csv needs --method average or connected")
    if args.threshold is not None:
        return Threshold(method_of(args.method, options | {"threshold": args.threshold}), "the command line")
    name = HOLDOUT if HOLDOUT in build.evaluations else TEST
    evaluation = build.evaluations[name].record
    if not evaluation.query_pids:
        raise ConfigError(
            "--threshold auto needs identities, and the test has none: build with --holdout 0.2, or give a number, "
            "such as --threshold 0.4"
        )

    def at(threshold: float) -> Method:
        return method_of(args.method, options | {"threshold": threshold})

    tune = tune_identities if named else tune_clusters
    tuned = tune(open_graph(args, build, name, graphs), evaluation, at, args.seed)
    return Threshold(at(tuned.choice.threshold), name, tuned)


def open_graph(
    args: argparse.Namespace, build: Build, name: str, graphs: dict[str, EvaluationGraph]
) -> EvaluationGraph:
    """The graph of one evaluation, made once."""
    if name not in graphs:
        e, plan = build.evaluations[name], build.plan
        graphs[name] = graph_of_evaluation(e.store, e.record, plan.ensemble, plan.competition.top_k, args.device)
    return graphs[name]


def label_queries(found: EvaluationGraph, method: Method, rules: LabelRules) -> NDArray[np.str_]:
    """(Q,) the text of each query's label, in the order of the data set without left-out images."""
    if not rules.form.named:
        return method.labels(found.graph)[found.query].astype(str)
    gallery = rules.benchmark.gallery.pids
    pids = found.spread([-1] * len(found.query), gallery.tolist())
    known = np.where(found.alone, pids, -1)
    name = {pid: text for text, pid in rules.identities.items()} | {NEW: NEW_INDIVIDUAL}
    answers = answers_of(method.labels(found.graph, known), known)[found.query]
    return np.array([name[pid] for pid in answers.tolist()])


def rows_of(rules: LabelRules, names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The label of every image of the file: one that was left out is new, or a cluster of its own."""
    of = dict(zip(names, labels, strict=True))
    gone = [name for name in rules.images if name not in of]
    alone = [NEW_INDIVIDUAL if rules.form.named else f"left_out_{i}" for i in range(len(gone))]
    of |= dict(zip(gone, alone, strict=True))
    return [of[name] for name in rules.images]


def content_of(rules: LabelRules, labels: Sequence[str]) -> bytes:
    """The bytes of the file, read back and checked.

    Raises:
        SubmissionError: what was written is not what was meant.
    """
    content = rules.form.write(rules.images, labels)
    back = rules.form.read(content)
    faults = rules.faults(back)
    if (tuple(back.images), [*back.labels]) != (rules.images, [*labels]):
        faults.append(Fault(None, "reading it back gives other labels"))
    if faults:
        told = "; ".join(str(f) for f in faults[:3])
        raise SubmissionError(f"{len(faults)} faults in the submission, nothing was written: {told}")
    return content


def report_json(build: Build, args: argparse.Namespace, chosen: Threshold, scores: Sequence[NamedScore]) -> bytes:
    """The scores with their signatures, how the threshold was chosen, and where all comes from."""
    content = {
        "build": build.key,
        "file": LABEL_FORMATS[args.format].file,
        "command": build.command,
        "scores": {},
        "method": describe(chosen.method),
        "threshold_from": chosen.source,
        "tuned": None if chosen.tuned is None else asdict(chosen.tuned),
        "labels": [asdict(score) for score in scores],
    }
    return (json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")


def _plain(value: Any) -> Any:
    """The same with null for NaN, which is not JSON."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def main(argv: Sequence[str] | None = None) -> None:
    """Make the graph, choose, cluster, write, check, score."""
    args = parse(argv)
    check_device(args.device)
    build = open_build(args.runs, args.build)
    competition, ranking = build.plan.competition, build.evaluations[TEST].ranking
    args.format = args.format or (
        competition.format if competition.format in LABEL_FORMATS else next(iter(LABEL_FORMATS))
    )
    out = args.out or Path("submissions") / f"{build.path.name}-clusters"
    check_folder(out)
    root = Path(build.record.data)
    benchmark = read_layout(settle_layout(competition.layout, root)[0], root, competition.skip, ("query", "gallery"))
    rules = rules_of(competition, benchmark, LABEL_FORMATS[args.format])
    if benchmark.query.names != ranking.query_names or benchmark.gallery.names != ranking.gallery_names:
        raise SubmissionError(f"{root}: its query or gallery is no longer that of {build.key}; build again")
    graphs: dict[str, EvaluationGraph] = {}
    chosen = settle_method(args, build, graphs, rules.form.named)
    found = open_graph(args, build, TEST, graphs)
    labels = label_queries(found, chosen.method, rules).tolist()
    rows = rows_of(rules, ranking.query_names, labels)
    content = content_of(rules, rows)
    facts = {"method": describe(chosen.method), "threshold_from": chosen.source.replace(" ", "_"), **found.how}
    scored = (benchmark.query.pids >= 0).any()
    scores = score_labels(rules, rules.images, rows, facts) if scored else []
    write_folder(out, {SCORE: report_json(build, args, chosen, scores), rules.form.file: content})
    print(f"{found.graph.n:,} images, {found.graph.dist.size:,} pairs nearer than 1; other pairs count as distance 1")
    print(summary(rules, describe(chosen.method), labels))
    for line in (*chosen.lines(), *lines_of(scores), str(out / rules.form.file)):
        print(line)


def summary(rules: LabelRules, method: str, labels: Sequence[str]) -> str:
    """How many clusters, or how many known and new images, of the queries."""
    if not rules.form.named:
        _, sizes = np.unique(labels, return_counts=True)
        return f"{method}: {len(sizes):,} clusters of {len(labels):,} queries, {int((sizes == 1).sum()):,} of one"
    new = sum(label == NEW_INDIVIDUAL for label in labels)
    return f"{method}: {len(labels) - new:,} of {len(labels):,} queries have a known identity, {new:,} are new"


if __name__ == "__main__":
    run(main)
