"""Write the submission of the last build, check it, and score it where identities are known: `python -m submit.make`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from configs.artifact import Store
from configs.command import run
from configs.errors import ConfigError, ResultError, SubmissionError
from configs.schema import Plan
from ensemble.ranking import Ranking, load_ranking
from ensemble.record import Record, last_build, load_record
from submit.formats import FORMATS
from submit.formats.base import find_faults
from submit.score import Row, score_evaluation
from submit.table import show

EXAMPLE = """example:
  python -m ensemble.build
  python -m submit.make --out submission
"""
SCORE = "score.json"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m submit.make",
        usage=EXAMPLE + "\nusage: python -m submit.make [options]",
        description=__doc__,
    )
    parser.add_argument("--out", type=Path, help="the folder to write (default: submissions/<the build's name>)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the build keeps its results")
    parser.add_argument("--build", help="the key of another build than the last, such as builds/drawn-0123456789ab")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read what the build recorded; write, check and score it."""
    args = parse(argv)
    if not args.runs.is_dir():
        raise ResultError(f"{args.runs}: no such folder. Run python -m ensemble.build first, or name it with --runs")
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    store = Store(args.runs, lambda text: print(text, file=sys.stderr))
    key = args.build or last_build(store)
    record = load_record(store.open(key))
    plan = Plan.model_validate(record.plan)
    ranking = load_ranking(store.open(record.evaluations["test"].ranking))
    out = args.out or Path("submissions") / key.split("/")[1]
    scores = {
        name: score_evaluation(store, name, evaluation, plan.ensemble, plan.competition, args.device)
        for name, evaluation in record.evaluations.items()
    }
    files = {
        FORMATS[_format(plan)].file: submission(ranking, _format(plan), plan.competition.top_k),
        SCORE: score_json(record, key, scores),
    }
    write_folder(out, files)
    for name, rows in scores.items():
        if rows:
            evaluation = record.evaluations[name]
            title = f"{name}: {len(evaluation.query_pids):,} queries x {len(evaluation.gallery_pids):,} gallery images"
            show(console, f"{title}, {_rule(plan)}", rows)
        else:
            console.print(f"{name}: query and gallery have no identities, so there is nothing to score")
    short = ranking.order.shape[1]
    if short < plan.competition.top_k:
        console.print(f"note: lists of {short}, not {plan.competition.top_k}: the gallery has no more")
    print(out)


def submission(ranking: Ranking, name: str, top_k: int) -> bytes:
    """The file's bytes, read back and checked.

    Raises:
        SubmissionError: what was written is not what was meant.
    """
    lists = ranking.lists()
    content = FORMATS[name].write(lists)
    back = FORMATS[name].read(content)
    faults = find_faults(back, ranking.query_names, ranking.gallery_names, top_k)
    if back != lists:
        faults.append("reading it back gives other lists")
    if faults:
        raise SubmissionError(f"{len(faults)} faults in the submission, nothing was written: {'; '.join(faults[:3])}")
    return content


def score_json(record: Record, key: str, scores: Mapping[str, Sequence[Row]]) -> bytes:
    """The scores with their signatures, and where they come from."""
    content = {
        "build": key,
        "command": record.command,
        "scores": {k: [asdict(r) for r in v] for k, v in scores.items()},
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files; every file is whole or not there.

    Raises:
        ResultError: the disk refuses.
    """
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.exists() and not out.is_dir():
            raise ResultError(f"{out}: is a file; give a folder with --out")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, content in files.items():
            with open(part / name, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
        out.mkdir(exist_ok=True)
        for name in files:
            os.replace(part / name, out / name)
        part.rmdir()
    except OSError as e:
        raise ResultError(f"{out}: cannot be written ({e.strerror}); give another folder with --out") from e


def _format(plan: Plan) -> str:
    name = plan.competition.format
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; submit/formats has: {', '.join(FORMATS)}")
    return name


def _rule(plan: Plan) -> str:
    c = plan.competition
    return (
        f"AP '{c.ap}'"
        + ("" if c.ap == "market" else f" at {c.top_k}")
        + f", total = {c.score.rank1:g} rank-1 + {c.score.map:g} mAP"
    )


if __name__ == "__main__":
    run(main)
