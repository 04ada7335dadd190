"""Read a submission file and check it against the competition's rules and the data set."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from configs.console.command import shortened
from configs.errors import ConfigError, SubmissionError
from configs.load import load_competition
from configs.schema import Competition
from ensemble.kernels.left_out import LeftOut
from ensemble.results.left_out import left_out_of, left_out_rows
from models.data.itself import check_junk
from models.data.layouts import AUTO, LAYOUTS, read_layout, settle_layout
from models.data.split import Benchmark
from submit.faults import find_faults, suspicions, tokens_apart
from submit.formats import FORMATS, LABEL_FORMATS, format_of, names_of
from submit.formats.base import MAX_BYTES, Fault, Format, Names, ParsedSubmission, broken

ENTRY = 64  # bytes beside a name
ROOM = 2  # factor of tolerance
LEAST_ROOM = 4 << 20  # bytes that are always allowed
LONGEST = 800  # characters printed per fault
ALIKE = 3  # faults printed of each group that differs only in names and numbers
SPECIAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d[\d,]*")


@dataclass(frozen=True)
class SubmissionRules:
    """What files are checked against: the competition's rules and the data set.

    Attributes:
        competition: the rules.
        benchmark: the data set.
        form: the file format.
        tokens: image names of the full data set as the format's tokens.
        kept: tokens without the images of competition.skip; these lists are scored.
        left_out: what the queries' lists leave out by the competition's rules.
    """

    competition: Competition
    benchmark: Benchmark
    form: Format
    tokens: Names
    kept: Names
    left_out: LeftOut | None = None

    @property
    def left_out_ids(self) -> list[list[int]]:
        """What a score depends on beside identities and cameras, as `competition_score.left_out_ids`."""
        rows = left_out_rows(self.competition.junk, self.benchmark.query, self.benchmark.gallery)
        return [rows.get(key, []) for key in ("own", "query_sequences", "gallery_sequences")] if rows else []

    @property
    def full(self) -> int:
        """Length of the longest list of the gallery."""
        return self.left_out.length(None) if self.left_out else len(self.kept.gallery)

    @property
    def length(self) -> int:
        """Length of a list."""
        gone = len(self.tokens.gallery) - len(self.kept.gallery)
        most = self.form.length(self.tokens, self.competition.top_k, gone)
        return min(most, self.full) if self.form.scored else most

    def faults(self, sheet: ParsedSubmission) -> list[Fault]:
        """All faults of a parsed file."""
        left_out = {*self.tokens.gallery} - {*self.kept.gallery}
        apart = tokens_apart(self.left_out, self.kept.query, self.kept.gallery) if self.form.scored else None
        return find_faults(sheet, self.tokens, self.length, left_out, not self.form.whole, apart)

    @cached_property
    def most_bytes(self) -> int:
        """Largest file that is read: above any valid file, even with many spaces, escapes and long distances."""
        asked, there = (
            sum(len(json.dumps(t)) + ENTRY for t in side) for side in (self.tokens.query, self.tokens.gallery)
        )
        lists = len(self.tokens.query) * self.length * there // max(1, len(self.tokens.gallery))
        return ROOM * (asked + lists) + LEAST_ROOM


@dataclass(frozen=True)
class CheckedSubmission:
    """One parsed file with its faults and notes."""

    path: Path
    sheet: ParsedSubmission
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for the competition and the data set."""
    parser.add_argument(
        "--competition", default="own", metavar="NAME", help="of configs/competitions, or a FILE.yaml (default: own)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of the data set")
    parser.add_argument("--layout", metavar="NAME", help=f"instead of the competition's: {', '.join((AUTO, *LAYOUTS))}")
    parser.add_argument(
        "--format",
        metavar="NAME",
        help=f"instead of the competition's: {', '.join((*FORMATS, *LABEL_FORMATS))}",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="such as competition.top_k=100; may be repeated"
    )


def format_asked(args: argparse.Namespace) -> str:
    """The name of the format: that of --format, or the competition's."""
    return args.format or load_competition(args.competition, layout=args.layout, sets=args.set).format


def open_benchmark(args: argparse.Namespace) -> tuple[Competition, Benchmark]:
    """Read the competition and the data set that the command line names.

    Raises:
        ConfigError: unknown competition or layout, or no folder.
        DataError: the folder has another layout.
    """
    competition = load_competition(args.competition, layout=args.layout, sets=args.set)
    root = args.data or (Path(competition.data) if competition.data else None)
    if root is None:
        raise ConfigError(f"--data is missing: competition {competition.name!r} needs the folder of its data set")
    layout, why = settle_layout(competition.layout, root)
    if why:
        print(why, file=sys.stderr)
    benchmark = read_layout(layout, root, competition.skip, wanted=("query", "gallery"))
    for finding in benchmark.found:
        print(finding, file=sys.stderr)
    check_junk(competition, benchmark)
    return competition, benchmark


def open_rules(args: argparse.Namespace) -> SubmissionRules:
    """Read the rules and the data set that the command line names.

    Raises:
        ConfigError: as `open_benchmark`; or unknown format.
        DataError: as there.
    """
    form = format_of(format_asked(args))
    competition, benchmark = open_benchmark(args)
    query, gallery = (benchmark.whole.get(part, benchmark.lists()[part]).names for part in ("query", "gallery"))
    names = names_of(form, benchmark.root, query, gallery)
    tokens = form.tokens(names)
    kept = Names(
        _kept(names.query, tokens.query, benchmark.query.names),
        _kept(names.gallery, tokens.gallery, benchmark.gallery.names),
    )
    left_out = left_out_of(competition.junk, benchmark.query, benchmark.gallery)
    return SubmissionRules(competition, benchmark, form, tokens, kept if form.scored else tokens, left_out)


def _kept(names: Sequence[str], tokens: Sequence[str], kept: Sequence[str]) -> tuple[str, ...]:
    """The tokens of the names that are kept."""
    token_of = dict(zip(names, tokens, strict=False))
    return tuple(token_of[name] for name in kept if name in token_of)


def read_file(path: Path) -> bytes:
    """A file's bytes, at most MAX_BYTES + 1.

    Raises:
        SubmissionError: it cannot be opened.
    """
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as e:
        raise SubmissionError(f"{path}: cannot be opened ({e.strerror}); give the submission file") from e


def check_file(path: Path, desk: SubmissionRules) -> CheckedSubmission:
    """Read a file and check it.

    Raises:
        SubmissionError: it cannot be opened.
    """
    content = read_file(path)
    if len(content) > desk.most_bytes:
        size = f"{len(content):,}" if len(content) <= MAX_BYTES else f"more than {MAX_BYTES:,}"
        text = f"{size} bytes; a valid file has at most about {desk.most_bytes // ROOM:,}. It is not read"
        return CheckedSubmission(path, broken(None, text), (Fault(None, text),), ())
    sheet = desk.form.read(content)
    faults = tuple(desk.faults(sheet))
    notes = (*sheet.notes, *suspicions(sheet, desk.tokens))
    if desk.form.ordered and not faults and [*sheet.answers.queries] != [*desk.tokens.query]:
        notes += ("its rows are not in the given order; some graders read rows by position",)
    if desk.length < desk.competition.top_k and not desk.form.whole and desk.tokens.gallery:
        notes += (f"lists of {desk.length:,}, not {desk.competition.top_k:,}: the gallery has no more",)
    return CheckedSubmission(path, sheet, faults, notes)


def print_groups(path: Path, faults: Sequence[Fault], most: int | None) -> None:
    """Print faults, few of those that differ only in names and numbers; most: faults to print, None for all."""
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(SPECIAL.sub("", fault.text), []).append(fault)
    left, told = len(faults) if most is None else most, 0
    for alike in kinds.values():
        shown = alike[: left if most is None or len(alike) <= ALIKE + 1 else min(left, ALIKE)]
        for fault in shown:
            said = shortened(str(fault), LONGEST)
            print(f"{path}, {said}" if fault.line else f"{path}: {said}")
        if shown and len(alike) > len(shown):
            print(f"... and {len(alike) - len(shown):,} more like this (--all prints them)")
        left -= len(shown)
        told += len(alike) if shown else 0
    if told < len(faults):
        print(f"... and {len(faults) - told:,} more faults (--all prints them)")


def print_faults(handed: CheckedSubmission, desk: SubmissionRules, most: int | None = 20) -> None:
    """Print the faults, the notes, and a summary line; most: faults to print, None for all."""
    print_groups(handed.path, handed.faults, most)
    for note in handed.notes:
        print(f"note: {note}")
    name = next(key for key, form in FORMATS.items() if form is desk.form)
    queries, gallery = len(desk.tokens.query), len(desk.tokens.gallery)
    asked = f"{queries:,} queries, lists of {desk.length:,} from {gallery:,} images" if gallery else f"{queries:,} rows"
    count = len(handed.faults)
    verdict = f"valid {name}" if not count else f"not a valid {name}, {count:,} fault{'s' * (count > 1)}"
    print(f"{handed.path}: {verdict}; {desk.competition.name} wants {asked}")


def order_of(handed: CheckedSubmission, desk: SubmissionRules) -> list[list[int]]:
    """The lists of a valid file as gallery indices, in the order of the data set's queries; short ones end in -1."""
    place = {token: i for i, token in enumerate(desk.kept.gallery)}
    lists: dict[str, Sequence[str]] = dict(zip(handed.sheet.answers.queries, handed.sheet.answers.lists, strict=True))
    order = [[*map(place.__getitem__, lists[query])] for query in desk.kept.query]
    most = max(map(len, order), default=0)
    return [[*row, *[-1] * (most - len(row))] for row in order]
