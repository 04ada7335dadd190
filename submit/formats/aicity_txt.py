"""AI City Challenge, track 2: line i has the gallery numbers of query i, counted from 1, without leading zeros."""

from __future__ import annotations

from submit.formats.base import Answers, Format, Names, ParsedSubmission, read_number_lines


def tokens(names: Names) -> Names:
    """Numbers from 1 in name order; `000001.jpg` is image 1."""
    return Names(
        tuple(str(i) for i in range(1, len(names.query) + 1)), tuple(str(i) for i in range(1, len(names.gallery) + 1))
    )


def write(answers: Answers) -> bytes:
    """One line per query, in order, without a query column."""
    return "".join(" ".join(numbers) + "\n" for numbers in answers.lists).encode("ascii")


def read(content: bytes) -> ParsedSubmission:
    """Parse lines of numbers. Leading zeros count: `007` is not image 7."""
    return read_number_lines(content)


AICITY_TXT = Format("track2.txt", write, read, tokens)
