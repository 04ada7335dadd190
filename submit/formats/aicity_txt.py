"""AI City Challenge, track 2: line i holds the gallery numbers of query i, counted from 1, not padded."""

from __future__ import annotations

from submit.formats.base import Answers, Format, Names, ParsedSubmission, read_number_lines


def tokens(names: Names) -> Names:
    """Places in name order from 1; `000001.jpg` is image 1."""
    return Names(
        tuple(str(i) for i in range(1, len(names.query) + 1)), tuple(str(i) for i in range(1, len(names.gallery) + 1))
    )


def write(answers: Answers) -> bytes:
    """A line a query, in the order of the queries; no query column."""
    return "".join(" ".join(numbers) + "\n" for numbers in answers.lists).encode("ascii")


def read(content: bytes) -> ParsedSubmission:
    """Numbers as they are written: `007` is not image 7 of this format."""
    return read_number_lines(content)


AICITY_TXT = Format("track2.txt", write, read, tokens)
