"""Write, check and score the submission of a build: `python -m submit.make`. Scores need known identities.

In Python: `import submit` and `submit.make(build)`; docs/python.md.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from configs.console.call import call_as, read_call
from configs.console.command import CommandLine, run
from configs.console.quoting import RUNS
from configs.console.store_options import add_build, add_device, add_runs
from configs.errors import ConfigError, ResultError, SubmissionError
from configs.schema import BuildConfig
from configs.store.atomic_files import disk_full_message, write_file
from ensemble.finished import Build, open_build
from ensemble.kernels.device import check_device
from ensemble.kernels.left_out import LeftOut
from ensemble.results.build_record import Evaluation, Record, describe_left_out
from ensemble.results.ranking import Ranking
from models.data.skip import UNANSWERED
from submit.build_scores import SCORE, Row, compare, load_scores, score_evaluation, show
from submit.faults import find_faults, tokens_apart
from submit.formats import FORMATS, format_of, names_of
from submit.formats.base import Fault, Format, Names

WHAT = "Write the submission of the last build, check it, and score it where identities are known."
TORN = re.compile(r"\..*\.\d+\.part")  # left by a killed writer
EXAMPLE = """
  python -m ensemble.build
  python -m submit.make --out submission
  python -m submit.make --out new --against submission
"""


def options() -> CommandLine:
    """The options of the command. `make` has a keyword for each."""
    parser = CommandLine("python -m submit.make", WHAT, EXAMPLE)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the folder to write (default: submissions/<the build's name>)"
    )
    add_runs(parser)
    add_build(parser)
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="an earlier submission, to say what was gained on it"
    )
    add_device(parser)
    return parser


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    return options().parse_args(argv)


@dataclass(frozen=True)
class Submission:
    """A submission.

    out: its folder. file: the file in it to submit. scores: evaluation (test, holdout) -> rows for the members, their
    sum, and the re-ranked sum. gains: comparison with an earlier submission. notes: remarks.
    """

    build: Build
    out: Path
    file: Path
    scores: Mapping[str, Sequence[Row]]
    gains: Sequence[str] = field(repr=False)
    notes: Sequence[str] = field(repr=False)

    def __repr__(self) -> str:
        totals = (f"{name} {rows[-1].total:.4f}" for name, rows in self.scores.items() if rows)
        return f"Submission({str(self.file)!r}, total: {', '.join(totals) or 'not known'})"

    def show(self) -> None:
        """Print what the command prints."""
        record, top_k = self.build.record, self.build.plan.competition.top_k
        print_summary(Console(highlight=False), record.evaluations, self.scores, length_of(self.build), top_k)
        for line in (*map(note_of_round, record.rounds), *notes_of_whitening(self.build.plan), *self.gains):
            print(line)
        print(self.out, flush=True)
        if record.left_out:
            print(f"note: {left_out_message(record.left_out)}", file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    """Write, check and score the submission, and print the result."""
    carry_out(parse(argv)).show()


def make(
    build: Build | str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    runs: str | os.PathLike[str] = RUNS,
    against: Submission | str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> Submission:
    """Write, check and score a submission as the command does. Nothing is printed; `show()` prints it.

    Args:
        build: a result of `ensemble.build`, or a key such as builds/drawn-0123456789ab; None is the last build of
            `runs`.
        out: the folder to write; None is submissions/<the build's name>.
        runs: the folder of results; not needed for a result of `ensemble.build`.
        against: an earlier submission, or its folder, to compare with.
        device: auto, cpu or cuda.

    Raises:
        ReidError: the command would exit with status 2. The message is the same.
    """
    given = locals()
    if isinstance(build, Build):
        if Path(runs) != RUNS and Path(runs).absolute() != build.runs:
            raise ConfigError(f"runs: {str(runs)!r}, but the build lies in {build.runs}; leave runs out")
        given |= {"build": build.key, "runs": build.runs}
    if isinstance(against, Submission):
        given["against"] = against.out
    return carry_out(read_call(options(), given))


def carry_out(args: argparse.Namespace) -> Submission:
    """Read the build's record, then write, check and score the submission."""
    check_device(args.device)
    build = open_build(args.runs, args.build)
    earlier = load_scores(args.against) if args.against else None
    record, plan, ranking = build.record, build.plan, build.evaluations["test"].ranking
    form = format_of(plan.competition.format)
    sides = (("query", ranking.query_names), ("gallery", ranking.gallery_names))
    names = names_of(form, Path(record.data), *(record.all_names(part, kept) for part, kept in sides))
    content = submission(ranking, form, names, plan.competition.top_k, record.evaluations["test"].left_out)
    out = args.out or Path("submissions") / build.path.name
    check_folder(out)
    scores = {
        name: score_evaluation(e.store, name, e.record, plan.ensemble, plan.competition, args.device)
        for name, e in build.evaluations.items()
    }
    write_folder(out, {SCORE: score_json(record, build.key, scores, form.file), form.file: content})
    gains = compare(scores, earlier, str(args.against)) if earlier is not None else []
    notes = [note for rows in scores.values() for note in notes_of_reranking(rows)]
    notes += [*notes_of_length(length_of(build), plan.competition.top_k), *map(note_of_round, record.rounds)]
    notes += notes_of_whitening(plan)
    notes += [f"note: {left_out_message(record.left_out)}"] if record.left_out else []
    return Submission(build, out, out / form.file, scores, gains, notes)


def length_of(build: Build) -> int:
    """The length of the submitted lists."""
    return build.evaluations["test"].ranking.order.shape[1]


def left_out_message(left_out: Mapping[str, Mapping[str, int]]) -> str:
    """A message: which images were left out, and the effect on the file and its scores."""
    told = describe_left_out(left_out)
    if "query" in left_out:
        told += f"; a query that was left out {UNANSWERED}"
    return told


def print_summary(
    console: Console,
    evaluations: Mapping[str, Evaluation],
    scores: Mapping[str, Sequence[Row]],
    length: int,
    top_k: int,
) -> None:
    """Print the tables and their notes."""
    for name, rows in scores.items():
        if not rows:
            told = f"{name}: no query has a right image that is known and counts, so there is nothing to score"
            console.print(told, soft_wrap=True)
            continue
        sizes = len(evaluations[name].query_pids), len(evaluations[name].gallery_pids)
        show(console, f"{name}: {sizes[0]:,} queries x {sizes[1]:,} gallery images", rows)
        for note in notes_of_reranking(rows):
            console.print(note, soft_wrap=True)
    for note in notes_of_length(length, top_k):
        console.print(note, soft_wrap=True)


def notes_of_whitening(plan: BuildConfig) -> list[str]:
    """A note if the whitening was learned on query and gallery."""
    how = plan.ensemble.whiten
    forbidden = how is not None and how.name == "test"
    return ["note: features are whitened by query and gallery, which some competitions forbid"] if forbidden else []


def notes_of_length(length: int, top_k: int) -> list[str]:
    """A note if lists are shorter than allowed."""
    return [f"note: lists of {length:,}, not {top_k:,}: the gallery has no more"] if length < top_k else []


def notes_of_reranking(rows: Sequence[Row]) -> list[str]:
    """A note if re-ranking lowers the total. If the loss may be chance, the note says so."""
    gain = rows[-1].gain if rows else None
    if gain is None or gain[0] >= 0:
        return []
    mean, low, high = (100 * x for x in gain)
    told = f"note: re-ranking lowers this total by {-mean:.1f} ({low:+.1f} to {high:+.1f}, 95 % over persons)"
    return [told + ("; --set ensemble.rerank=none leaves it out" if high < 0 else ": chance alone could do it")]


def note_of_round(done: Mapping[str, Any]) -> str:
    """A note on a round with pseudo labels: the images and the settings."""
    images = (
        "unlabelled and test images, which some competitions forbid" if done["test_images"] else "unlabelled images"
    )
    return f"note: round {done['round']} trained on {done['joined']:,} {images}, labelled by {done['settings']}"


def submission(ranking: Ranking, form: Format, names: Names, top_k: int, left_out: LeftOut | None = None) -> bytes:
    """The bytes of the file to submit. They are read back and checked.

    left_out: gallery images that the ranked lists exclude.

    Raises:
        SubmissionError: the file breaks a rule, or reading it back gives other lists.
    """
    tokens = form.tokens(names)
    meant = form.arrange(ranking, names, tokens)
    content = form.write(meant)
    back = form.read(content)
    kept = dict(zip(names.query, tokens.query, strict=False)), dict(zip(names.gallery, tokens.gallery, strict=False))
    ranked = [
        [side.get(n, "") for n in of]
        for side, of in zip(kept, (ranking.query_names, ranking.gallery_names), strict=True)
    ]
    apart = tokens_apart(left_out if form.scored else None, *ranked)
    length = form.length(tokens, top_k, len(names.gallery) - len(ranking.gallery_names))
    faults = find_faults(back, tokens, length, settable=False, apart=apart)
    if [*back.answers.queries] != [*meant.queries] or [*map(list, back.answers.lists)] != [*map(list, meant.lists)]:
        faults.append(Fault(None, "reading it back gives other lists"))
    if faults:
        said = "; ".join(str(f) for f in faults[:3])
        raise SubmissionError(f"{len(faults)} faults in the submission, nothing was written: {said}")
    return content


def score_json(record: Record, key: str, scores: Mapping[str, Sequence[Row]], file: str) -> bytes:
    """The scores with their signatures, and the build that they come from."""
    content = {
        "build": key,
        "file": file,
        "command": record.command,
        "rounds": record.rounds,
        "scores": {k: [asdict(r) for r in v] for k, v in scores.items()},
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def check_folder(out: Path) -> str:
    """The name of the submission file in a folder; empty if the folder is empty or does not exist.

    Raises:
        ResultError: the path is a file, or the folder contains something else than a submission.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out}: is a file; give a folder with --out")
    there = sorted(p.name for p in out.iterdir() if not TORN.fullmatch(p.name)) if out.exists() else []
    try:
        told = json.loads((out / SCORE).read_text(encoding="utf-8"))
        if {"build", "scores"} <= set(told):
            return str(told.get("file", ""))
    except (OSError, ValueError, TypeError):
        pass
    if there:
        few = ", ".join(map(repr, there[:3])) + ", ..." * (len(there) > 3)
        raise ResultError(f"{out}: holds {few} and no {SCORE} of a submission; give a new or empty folder with --out")
    return ""


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a folder, one writer at a time. Each file is written completely or not at all.

    The file of an earlier submission in another format is removed. Other files stay.

    Raises:
        ResultError: the folder cannot be written, or it contains something else than a submission.
    """
    try:
        check_folder(out)
        out.mkdir(parents=True, exist_ok=True)
        with _alone_in(out):
            earlier = check_folder(out)
            if earlier in {form.file for form in FORMATS.values()} - {*files}:
                (out / earlier).unlink(missing_ok=True)
            for name, content in files.items():
                for torn in out.glob(f".{name}.*.part"):  # left by a killed writer
                    torn.unlink()
                write_file(out / name, content)
    except OSError as e:
        raise ResultError(
            f"{out}: cannot be written ({e.strerror}); {disk_full_message(_standing(out), e, '--out')}"
        ) from e


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder against other writers. The system releases the lock when the process ends; no lock file remains."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _standing(path: Path) -> Path:
    """The path itself, or its nearest existing parent folder."""
    return next(p for p in (path, *path.absolute().parents) if p.is_dir())


def script() -> None:
    """The command `reid-submit`."""
    run(main)


call_as(__name__, make)

if __name__ == "__main__":
    script()
