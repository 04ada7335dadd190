"""What is wrong with a submission: every query once, lists of the right length, no repeats, only gallery names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from submit.formats.base import Fault, Names, Sheet, is_number
from submit.guess import Guess


def find_faults(sheet: Sheet, tokens: Names, length: int, left_out: Collection[str] = ()) -> list[Fault]:
    """All that is wrong, by line; nothing where the file is right.

    Args:
        sheet: the file as its format read it.
        tokens: of the data set, in the format's own terms.
        length: of every list.
        left_out: those of gallery images that no list may hold.
    """
    faults = list(sheet.faults)
    asked, there = set(tokens.query), set(tokens.gallery).difference(left_out)
    query_guess, gallery_guess = Guess(tokens.query, asked), Guess(tokens.gallery, there, left_out)
    answers, first = sheet.answers, dict[str, int]()
    for line, query, names in zip(sheet.lines, answers.queries, answers.lists, strict=True):
        if query not in asked:
            text = f"query {query!r} is not one of the {len(asked):,} queries{query_guess(query)}"
            faults.append(Fault(line, text))
            continue
        if query in first:
            faults.append(Fault(line, f"query {query!r} is answered again; line {first[query]} does so already"))
        first.setdefault(query, line)
        faults += [
            Fault(line, f"query {query!r}: {text}") for text in _list_faults(names, there, length, gallery_guess)
        ]
    missing = [query for query in tokens.query if query not in first]
    if missing and not (sheet.faults and not answers.queries):  # where nothing could be read, that says it all
        faults += [Fault(None, f"query {query!r} is not answered") for query in missing]
    return sorted(faults, key=lambda fault: fault.line or 0)


def _list_faults(names: Sequence[str], there: set[str], length: int, guess: Guess) -> Iterable[str]:
    if len(names) != length:
        yield f"a list of {len(names):,}; wanted {length:,}"
    distinct = set(names)
    if len(distinct) < len(names):
        token, times = next((n, c) for n, c in Counter(names).items() if c > 1)
        others = len(names) - len(distinct) - times + 1
        yield f"{token!r} is there {times} times" + (f", and {others} more repeats" if others else "")
    unknown = distinct - there
    if unknown:
        token = next(n for n in names if n in unknown)
        more = f", nor are {len(unknown) - 1} more of its names" if len(unknown) > 1 else ""
        yield f"{token!r} is not in the gallery{guess(token)}{more}"


def suspicions(sheet: Sheet, tokens: Names) -> list[str]:
    """What is probably meant otherwise: numbers counted from 1 where they count from 0 here, or the reverse."""
    first = counts_from(tokens.gallery)
    if first is None:
        return []
    numbers = {int(t) for names in sheet.answers.lists for t in set(names) if is_number(t)}
    last = first + len(tokens.gallery) - 1
    other = 1 - first
    outside, lacking = (last + 1, first) if other > first else (first - 1, last)
    if lacking in numbers:
        return []
    if outside in numbers:
        return [
            f"its numbers run from {min(numbers)} to {max(numbers)}, those here from {first} to {last}: "
            f"this looks like a file that counts from {other}"
        ]
    unused = len(tokens.gallery) - len(numbers & set(range(first, last + 1)))
    if unused <= 0.01 * len(tokens.gallery):
        return [
            f"{lacking} is one of the {unused} numbers that it never uses: does it count from {other}, not {first}?"
        ]
    return []


def counts_from(tokens: Sequence[str]) -> int | None:
    """0 or 1 where tokens are the numbers of their places, counted from there."""
    for first in (0, 1):
        if len(tokens) > 1 and all(t == str(i) for i, t in enumerate(tokens, first)):
            return first
    return None
