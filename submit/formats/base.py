"""The interface of submission formats, and the parsed content of a file: answers, faults, notes.

A format names images by tokens: their names, or their numbers in a list.
`Format.tokens` gives the tokens of a data set's names, in the same order. All checks work on tokens.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ensemble.results.ranking import Ranking

NUMBER = re.compile(r"[0-9]{1,18}")  # int() also accepts digits of other scripts, underscores and signs
MAX_BYTES = 2_000_000_000  # of an unpacked submission; the largest real ones have about 100 MB


@dataclass(frozen=True)
class Names:
    """Query and gallery names in the order of the full data set, left-out images included.

    Attributes:
        pairs: (row id, query, gallery) to compare, for formats with given pairs.
    """

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    pairs: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Fault:
    """One fault of a file. line: from 1; None for the whole file."""

    line: int | None
    text: str

    def __str__(self) -> str:
        return self.text if self.line is None else f"line {self.line}: {self.text}"


@dataclass(frozen=True)
class Answers:
    """The submitted lists in tokens: the i-th query's list, nearest first, and its distances if the format has them."""

    queries: Sequence[str]
    lists: Sequence[Sequence[str]]
    dists: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class ParsedSubmission:
    """A parsed file, valid or not.

    Attributes:
        answers: all that could be parsed, in the file's order; a query may occur twice.
        lines: line of each answer, from 1.
        faults: of the syntax.
        notes: remarks on allowed but unusual content.
    """

    answers: Answers
    lines: Sequence[int]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


def arrange_lists(ranking: Ranking, names: Names, tokens: Names) -> Answers:
    """A ranking in tokens: every query's list and its distances.

    A query that was left out of the ranking gets the gallery in its own order, all at the largest distance. A short
    list ends in -1, which is no image.
    """
    token = dict(zip(names.gallery, tokens.gallery, strict=True))
    found = [token[name] for name in ranking.gallery_names]
    row = {name: i for i, name in enumerate(ranking.query_names)}
    order = ranking.order.tolist()
    dist = ranking.dist.tolist()
    length = ranking.order.shape[1]
    far = float(ranking.dist.max(where=np.isfinite(ranking.dist), initial=0))
    lists = [[found[i] for i in order[row[q]] if i >= 0] if q in row else found[:length] for q in names.query]
    dists = (dist[row[q]] if q in row else [far] * length for q in names.query)
    return Answers(tokens.query, lists, [d[: len(one)] for d, one in zip(dists, lists, strict=True)])


@dataclass(frozen=True)
class Format:
    """A submission format.

    Attributes:
        file: file name that the competition uses.
        write: Answers -> bytes of the file.
        read: bytes -> ParsedSubmission; never raises.
        tokens: names -> tokens.
        arrange: ranking -> Answers.
        whole: lists have the whole gallery, whatever K is.
        scored: its lists can be scored.
        ordered: rows must be in the given order, although they are named.
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
        """Length of a list, if `left_out` gallery images must not be listed."""
        most = max(0, len(tokens.gallery) - left_out)
        return most if self.whole else min(top_k, most)


def broken(line: int | None, text: str) -> ParsedSubmission:
    """A file that cannot be parsed, with the reason."""
    return ParsedSubmission(Answers([], []), [], (Fault(line, text),))


def decode_text(content: bytes) -> tuple[str, tuple[str, ...]] | Fault:
    """The UTF-8 text and notes on it, or the fault if it is not text."""
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
        notes.append("the file begins with a byte order mark; some graders cannot read it")
    if "\r\n" in text:
        notes.append("lines end in CR LF (Windows); some graders read the CR as part of the last name")
    return text, tuple(notes)


def split_lines(text: str) -> list[str]:
    """Lines without line ends. Only LF and CR LF end a line, since a name may have other Unicode separators."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def csv_line(fields: Sequence[str]) -> str:
    """One line of CSV (RFC 4180). Python's csv writer does not quote a bare CR, and then cannot read it."""
    quoted = ('"' + f.replace('"', '""') + '"' if set(f) & set('",\r\n') else f for f in fields)
    return ",".join(quoted) + "\n"


def csv_rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV and the line of each, from 1. Only LF and CR LF end a row, except inside quotes.

    Raises:
        BadCsv: the rest is not CSV.
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
    """Text that is not CSV, with its fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def is_number(text: str) -> bool:
    """Whether a token is a whole number in ASCII digits."""
    return NUMBER.fullmatch(text) is not None


def parse_number(text: str) -> float:
    """A decimal number, or NaN. float() also accepts underscores and digits of other scripts."""
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def read_number_lines(content: bytes) -> ParsedSubmission:
    """Parse lines of numbers separated by spaces. Line i answers query i, so queries are named "1", "2" and so on."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    rows = split_lines(text)
    if rows and not any(is_number(token) for token in rows[0].split()):
        shown = rows[0][:40]
        return broken(1, f"{shown!r}: wanted gallery numbers separated by spaces, one line per query")
    faults, lists = [], []
    for line, row in enumerate(rows, 1):
        tokens = row.split(" ")
        while tokens and tokens[-1] == "":
            tokens.pop()
        odd = next((t for t in tokens if not is_number(t)), None)
        if odd is not None:
            faults.append(Fault(line, f"{odd[:40]!r} is not a number; wanted numbers separated by single spaces"))
            tokens = [t for t in tokens if is_number(t)]
        lists.append(tokens)
    lines = range(1, len(rows) + 1)
    return ParsedSubmission(Answers([str(line) for line in lines], lists), lines, tuple(faults), notes)
