"""Label images by the last build's ensemble: `python -m ensemble.pseudo`."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.artifact import Store, write_text
from configs.command import CommandLine, run
from configs.errors import ConfigError
from configs.schema import Plan
from ensemble.bank import features_of
from ensemble.kept import open_banks
from ensemble.neighbours import nearest
from ensemble.pseudo import METHODS, Round, clusters, dbscan, describe_round, loop_search, score_round
from ensemble.record import last_build, load_record

WHAT = (
    "Group the test images of the last build without looking at their identities, and say how good the groups are "
    "where these are known. Labels made so come from test images, which some competitions forbid."
)
EXAMPLE = """
  python -m ensemble.build
  python -m ensemble.pseudo --method dbscan --out labels.csv
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m ensemble.pseudo", WHAT, EXAMPLE)
    parser.add_argument("--method", choices=tuple(METHODS), default="loop_search", help="default: loop_search")
    parser.add_argument("--threshold", type=float, default=0.5, metavar="D", help="of loop_search (default: 0.5)")
    parser.add_argument("--groups", type=int, default=1000, metavar="N", help="of clusters (default: 1000)")
    parser.add_argument("--eps", type=float, default=0.6, metavar="D", help="of dbscan (default: 0.6)")
    parser.add_argument("--least", type=int, default=4, metavar="N", help="of dbscan, images near (default: 4)")
    parser.add_argument("--k1", type=int, default=30, metavar="N", help="of dbscan, neighbours (default: 30)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of clusters (default: 0)")
    parser.add_argument("--test", default="test", metavar="NAME", help="test, or holdout where one was kept aside")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where builds are (default: runs)"
    )
    parser.add_argument("--build", metavar="KEY", help="another build than the last")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a CSV file to write: name, label (-1 for none)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(argv)


def group(
    method: str, feats: Sequence[NDArray], weights: Sequence[float], power: int, asked: argparse.Namespace
) -> NDArray[np.int64]:
    """The labels that a method gives, with what was asked for it."""
    if method == "clusters":
        return clusters(feats, asked.groups, weights=weights, seed=asked.seed)
    if method == "loop_search":
        return loop_search(nearest(feats, 2, weights=weights, device=asked.device), asked.threshold)
    k1, k2 = asked.k1, min(6, asked.k1)
    neighbours = nearest(feats, max(k1 + 1, k2), weights=weights, device=asked.device)
    return dbscan(neighbours, feats, asked.eps, least=asked.least, weights=weights, k1=k1, k2=k2, power=power)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the build's features, group, report, and write the labels where asked."""
    args = parse(argv)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr))
    record = load_record(store.open(args.build or last_build(store)))
    if args.test not in record.evaluations:
        raise ConfigError(f"--test {args.test}: this build has {', '.join(record.evaluations)}")
    evaluation, settings = record.evaluations[args.test], Plan.model_validate(record.plan).ensemble
    banks = open_banks(store, evaluation.banks)
    weights = [settings.weights.get(bank.member, 1.0) for bank in banks]
    labels = group(args.method, features_of(banks, "pseudo labels"), weights, settings.power, args)
    pids = [*evaluation.query_pids, *evaluation.gallery_pids]
    scored = score_round(labels, np.array(pids) if pids else None)
    print(f"{args.method}, {'+'.join(bank.member for bank in banks)}: {describe_round(scored)}")
    if args.out:
        names = [*banks[0].query_names, *banks[0].gallery_names]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(args.out, as_csv(names, labels))
        write_text(args.out.with_suffix(".json"), as_json(args.method, scored))
        print(args.out)


def as_csv(names: Sequence[str], labels: NDArray[np.int64]) -> str:
    """`name,label` lines under a head line."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "label"))
    writer.writerows(zip(names, labels.tolist(), strict=True))
    return text.getvalue()


def as_json(method: str, scored: Round) -> str:
    """The report; null where there are no identities to score with."""
    numbers = {k: None if math.isnan(v) else v for k, v in asdict(scored).items()}
    return json.dumps({"method": method, **numbers}, indent=1) + "\n"


if __name__ == "__main__":
    run(main)
