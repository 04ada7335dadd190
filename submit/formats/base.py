"""What a submission format is, and what its file says when it is read: answers, faults, notes.

A format speaks of images by its own tokens: their names, or numbers by their place in a list. `Format.tokens` gives the
tokens of a data set's names, in the same order; everything else works on tokens, so that one checker serves all.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ensemble.results.ranking import Ranking

NUMBER = re.compile(r"[0-9]{1,18}")  # int() would take other scripts' digits, underscores and signs too
MAX_BYTES = 2_000_000_000  # of a submission, unpacked; the largest of a real competition has some 100 MB


@dataclass(frozen=True)
class Names:
    """Who asks and who can be found, in the order of the whole data set, images that were left out among them.

    pairs: (row id, query, gallery) to compare, if given.
    """

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    pairs: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file. line: from 1, or None where it is of the whole file."""

    line: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.line is None else f"line {self.line}: {self.text}"


@dataclass(frozen=True)
class Answers:
    """What is handed in, in tokens: the i-th query's list, best first, and its distances where a format has them."""

    queries: Sequence[str]
    lists: Sequence[Sequence[str]]
    dists: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class ParsedSubmission:
    """A file as it was read, right or wrong.

    answers: all that could be understood, in the file's order; a query may be there twice. lines: where each answer
    stands, from 1. faults: of its form. notes: what is allowed and yet worth a word.
    """

    answers: Answers
    lines: Sequence[int]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def arrange_lists(ranking: Ranking, names: Names, tokens: Names) -> Answers:
    """A ranking in tokens: every query's list and its distances.

    A query that was left out of the ranking is answered with the gallery in its own order, all at the largest distance.
    """
    token = dict(zip(names.gallery, tokens.gallery, strict=True))
    found = [token[name] for name in ranking.gallery_names]
    row = {name: i for i, name in enumerate(ranking.query_names)}
    order, dist, length = ranking.order.tolist(), ranking.dist.tolist(), ranking.order.shape[1]
    far = float(ranking.dist.max()) if ranking.dist.size else 0.0
    lists = [[found[i] for i in order[row[q]]] if q in row else found[:length] for q in names.query]
    return Answers(tokens.query, lists, [dist[row[q]] if q in row else [far] * length for q in names.query])


@dataclass(frozen=True)
class Format:
    """A way to hand lists in.

    file: what the competition calls it. write: Answers -> the file's bytes. read: anybody's bytes -> ParsedSubmission;
    it never raises. tokens: names -> tokens. arrange: what of a ranking is handed in. whole: lists hold the whole
    gallery, whatever K is. scored: its lists can be scored. ordered: queries are handed in in the order that they are
    given in, though their names tell them apart.
    """

    file: str
    write: Callable[[Answers], bytes]
    read: Callable[[bytes], ParsedSubmission]
    tokens: Callable[[Names], Names] = field(default=lambda names: names)
    arrange: Callable[[Ranking, Names, Names], Answers] = arrange_lists
    whole: bool = False
    scored: bool = True
    ordered: bool = False

    def length(self, tokens: Names, top_k: int, left_out: int = 0) -> int:
        """How long a list must be, where so many gallery images may not be listed."""
        most = max(0, len(tokens.gallery) - left_out)
        return most if self.whole else min(top_k, most)


def broken(line: int | None, text: str) -> ParsedSubmission:
    """A file of which nothing can be understood, and why."""
    return ParsedSubmission(Answers([], []), [], (Fault(line, text),))


def decode_text(content: bytes) -> tuple[str, tuple[str, ...]] | Fault:
    """UTF-8 text and what is odd about it, or why it is not text."""
    if not content:
        return Fault(None, "the file is empty")
    if len(content) > MAX_BYTES:
        return Fault(None, f"{len(content):,} bytes; more than {MAX_BYTES:,} are not read")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        return Fault(content.count(b"\n", 0, e.start) + 1, f"byte {e.start} is not UTF-8; the file must be UTF-8 text")
    notes = []
    if content.startswith(b"\xef\xbb\xbf"):
        notes.append("the file begins with a byte order mark; some graders stumble over it")
    if "\r\n" in text:
        notes.append("lines end in CR LF (Windows); some graders take the CR for a part of the last name")
    return text, tuple(notes)


def split_lines(text: str) -> list[str]:
    """Lines without their ends. Only LF and CR LF end a line: a name may hold any other separator of Unicode."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def csv_line(fields: Sequence[str]) -> str:
    """One line of CSV (RFC 4180); Python's own writer leaves a bare CR unquoted, and then cannot read it back."""
    quoted = ('"' + f.replace('"', '""') + '"' if set(f) & set('",\r\n') else f for f in fields)
    return ",".join(quoted) + "\n"


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV and the line each begins on, from 1. Only LF and CR LF end a row; a quoted field may hold any.

    Raises:
        BadCsv: what follows is not CSV.
    """
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as e:
        said = "a CR without LF; end lines in LF" if "new-line character" in str(e) else f"not CSV ({e})"
        raise BadCsv(Fault(line, said)) from e
    if text.endswith("\r"):
        raise BadCsv(Fault(max(1, line - 1), "a CR without LF; end lines in LF"))


class BadCsv(Exception):
    """Text that is not CSV; it holds the fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def is_number(text: str) -> bool:
    """Whether a token is a whole number in plain digits."""
    return NUMBER.fullmatch(text) is not None


def parse_number(text: str) -> float:
    """A decimal number, or NaN: float() would take underscores and other scripts' digits too."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def read_number_lines(content: bytes) -> ParsedSubmission:
    """Lines of numbers apart by spaces: line i answers query i, so queries are called "1", "2" and so on."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    rows = split_lines(text)
    if rows and not any(is_number(token) for token in rows[0].split()):
        shown = rows[0][:40]
        return broken(1, f"{shown!r}: wanted gallery numbers apart by spaces, a line a query")
    faults, lists = [], []
    for line, row in enumerate(rows, 1):
        tokens = row.split(" ")
        while tokens and tokens[-1] == "":
            tokens.pop()
        odd = next((t for t in tokens if not is_number(t)), None)
        if odd is not None:
            faults.append(Fault(line, f"{odd[:40]!r} is not a number; wanted numbers apart by single spaces"))
            tokens = [t for t in tokens if is_number(t)]
        lists.append(tokens)
    lines = range(1, len(rows) + 1)
    return ParsedSubmission(Answers([str(line) for line in lines], lists), lines, tuple(faults), notes)
