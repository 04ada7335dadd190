"""Write the submission of the last build, check it, score it where identities are known: `python -m submit.make`."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.console.command import CommandLine, run
from configs.errors import ResultError, SubmissionError
from configs.store.atomic_files import room, write_file
from configs.store.store import Store
from ensemble.kernels.device import check_device
from ensemble.results.build_record import Evaluation, Record, describe_left_out, open_build
from ensemble.results.ranking import Ranking, load_ranking
from models.data.skip import UNANSWERED
from submit.build_scores import SCORE, Row, compare, load_scores, score_evaluation, show
from submit.faults import find_faults
from submit.formats import format_of, names_of
from submit.formats.base import Fault, Format, Names

WHAT = "Write the submission of the last build, check it, and score it where identities are known."
EXAMPLE = """
  python -m ensemble.build
  python -m submit.make --out submission
  python -m submit.make --out new --against submission
"""


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.make", WHAT, EXAMPLE)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write (default: submissions/<the build's name>)"
    )
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where the build keeps its results (default: runs)",
    )
    parser.add_argument("--build", metavar="KEY", help="another build than the last, such as builds/drawn-0123456789ab")
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="an earlier submission, to say what was gained on it"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Read what the build recorded; write, check and score it."""
    args = parse(argv)
    check_device(args.device)
    if not args.runs.is_dir():
        raise ResultError(f"{args.runs}: no such folder. Run python -m ensemble.build first, or name it with --runs")
    earlier = load_scores(args.against) if args.against else None
    store = Store(args.runs, lambda text: print(text, file=sys.stderr))
    key, record, plan = open_build(store, args.build)
    ranking = load_ranking(store.open(record.evaluations["test"].ranking))
    form = format_of(plan.competition.format)
    sides = (("query", ranking.query_names), ("gallery", ranking.gallery_names))
    names = names_of(form, Path(record.data), *(record.all_names(part, kept) for part, kept in sides))
    content = submission(ranking, form, names, plan.competition.top_k)
    scores = {
        name: score_evaluation(store, name, evaluation, plan.ensemble, plan.competition, args.device)
        for name, evaluation in record.evaluations.items()
    }
    out = args.out or Path("submissions") / key.split("/")[1]
    write_folder(out, {form.file: content, SCORE: score_json(record, key, scores)})
    tell(Console(highlight=False), record.evaluations, scores, ranking.order.shape[1], plan.competition.top_k)
    for done in record.rounds:
        print(note_of_round(done))
    if plan.ensemble.whiten and plan.ensemble.whiten.name == "test":
        print("note: features are whitened by query and gallery, which some competitions forbid")
    for line in compare(scores, earlier, str(args.against)) if earlier is not None else ():
        print(line)
    print(out, flush=True)
    if record.left_out:
        print(f"note: {told_of(record.left_out)}", file=sys.stderr)


def told_of(left_out: Mapping[str, Mapping[str, int]]) -> str:
    """What was left out, and what that does to the file and its scores."""
    told = describe_left_out(left_out)
    if "query" in left_out:
        told += f"; a query that was left out {UNANSWERED}"
    return told


def tell(
    console: Console,
    evaluations: Mapping[str, Evaluation],
    scores: Mapping[str, Sequence[Row]],
    length: int,
    top_k: int,
) -> None:
    """The tables, and what there is to know about them."""
    for name, rows in scores.items():
        if not rows:
            told = f"{name}: no query has a right image that is known and counts, so there is nothing to score"
            console.print(told, soft_wrap=True)
            continue
        sizes = len(evaluations[name].query_pids), len(evaluations[name].gallery_pids)
        show(console, f"{name}: {sizes[0]:,} queries x {sizes[1]:,} gallery images", rows)
        before, after = rows[-2:] if len(rows) > 1 else (rows[0], rows[0])
        if after.name.endswith("re-ranked") and after.total < before.total:
            loss = 100 * (before.total - after.total)
            console.print(
                f"note: re-ranking lowers this total by {loss:.1f}; --set ensemble.rerank=none leaves it out",
                soft_wrap=True,
            )
    if length < top_k:
        console.print(f"note: lists of {length:,}, not {top_k:,}: the gallery has no more", soft_wrap=True)


def note_of_round(done: Mapping[str, Any]) -> str:
    """That labels were guessed, of which images, and how."""
    images = (
        "unlabelled and test images, which some competitions forbid" if done["test_images"] else "unlabelled images"
    )
    return f"note: round {done['round']} trained on {done['joined']:,} {images}, labelled by {done['settings']}"


def submission(ranking: Ranking, form: Format, names: Names, top_k: int) -> bytes:
    """The bytes of the file to hand in, read back and checked.

    Raises:
        SubmissionError: what was written is not what was meant.
    """
    tokens = form.tokens(names)
    meant = form.arrange(ranking, names, tokens)
    content = form.write(meant)
    back = form.read(content)
    faults = find_faults(back, tokens, form.length(tokens, top_k, len(names.gallery) - len(ranking.gallery_names)))
    if [*back.answers.queries] != [*meant.queries] or [*map(list, back.answers.lists)] != [*map(list, meant.lists)]:
        faults.append(Fault(None, "reading it back gives other lists"))
    if faults:
        said = "; ".join(str(f) for f in faults[:3])
        raise SubmissionError(f"{len(faults)} faults in the submission, nothing was written: {said}")
    return content


def score_json(record: Record, key: str, scores: Mapping[str, Sequence[Row]]) -> bytes:
    """The scores with their signatures, and where they come from."""
    content = {
        "build": key,
        "command": record.command,
        "rounds": record.rounds,
        "scores": {k: [asdict(r) for r in v] for k, v in scores.items()},
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files, one writer at a time; every file is whole or not there.

    Raises:
        ResultError: the disk refuses.
    """
    try:
        if out.exists() and not out.is_dir():
            raise ResultError(f"{out}: is a file; give a folder with --out")
        out.mkdir(parents=True, exist_ok=True)
        with _alone_in(out):
            for name, content in files.items():
                for torn in out.glob(f".{name}.*.part"):  # of a writer that was killed
                    torn.unlink()
                write_file(out / name, content)
    except OSError as e:
        raise ResultError(f"{out}: cannot be written ({e.strerror}); {room(_standing(out), e, '--out')}") from e


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder against other writers; the system lets go of it with its holder, and no lock file stays."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _standing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(p for p in (path, *path.absolute().parents) if p.is_dir())


if __name__ == "__main__":
    run(main)
