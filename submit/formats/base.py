"""What a submission format is, and what its file says when it is read: answers, faults, notes.

A format speaks of images by its own tokens: their names, or numbers by their place in a list. `Format.tokens` gives the
tokens of a data set's names, in the same order; everything else works on tokens, so that one checker serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

MAX_BYTES = 2_000_000_000  # of a submission, unpacked; the largest of a real competition has some 100 MB


@dataclass(frozen=True)
class Names:
    """Who asks and who can be found, in the order of the data set's lists."""

    query: tuple[str, ...]
    gallery: tuple[str, ...]


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
class Sheet:
    """A file as it was read, right or wrong.

    answers: all that could be understood, in the file's order; a query may be there twice. lines: where each answer
    stands, from 1. faults: of its form. notes: what is allowed and yet worth a word.
    """

    answers: Answers
    lines: Sequence[int]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A way to hand lists in.

    file: what the competition calls it. write: Answers -> the file's bytes. read: anybody's bytes -> Sheet; it never
    raises. tokens: names -> tokens. base: where tokens are numbers, the first of them. whole: lists hold the whole
    gallery, whatever K is.
    """

    file: str
    write: Callable[[Answers], bytes]
    read: Callable[[bytes], Sheet]
    tokens: Callable[[Names], Names] = field(default=lambda names: names)
    base: int | None = None
    whole: bool = False


def broken(line: int | None, text: str) -> Sheet:
    """A file of which nothing can be understood, and why."""
    return Sheet(Answers([], []), [], (Fault(line, text),))


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
    if "\r" in text:
        notes.append("lines end in CR LF (Windows); some graders take the CR for a part of the last name")
    return text, tuple(notes)


def split_lines(text: str) -> list[str]:
    """Lines without their ends. Only LF and CR LF end a line: a name may hold any other separator of Unicode."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
