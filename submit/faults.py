"""Faults of a submission: each query once, lists of the right length, no repeats, only gallery names."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from ensemble.kernels.left_out import LeftOut
from submit.formats.base import Fault, Names, ParsedSubmission, is_number

Likeness = tuple[str, Callable[[str], str]]
LIKE: tuple[Likeness, ...] = (
    ("another Unicode normal form", lambda s: unicodedata.normalize("NFC", s)),
    ("other spaces around it", str.strip),
    ("other capitals", str.casefold),
    ("another ending", lambda s: s.rpartition(".")[0] or s),
)


class Guess:
    """Guesses the intended name. Its lookup tables are made once, for files with many faults."""

    def __init__(self, known: Sequence[str], there: set[str], left_out: Collection[str] = ()) -> None:
        self.known = known
        self.there = there
        self.left_out = left_out
        self.by: dict[str, dict[str, str]] = {}

    def __call__(self, token: str) -> str:
        """A guess in brackets, such as ` (names are without folders)`, or ""."""
        if token in self.left_out:
            return " (competition.skip leaves it out)"
        if self.known and is_number(self.known[0]) and is_number(self.known[-1]):
            plain = token.lstrip("0") or "0"
            if plain in self.there:
                return f" (written {plain!r} here, without zeros in front)"
            return f" (they run from {self.known[0]} to {self.known[-1]})"
        bare = PurePosixPath(token.replace("\\", "/")).name
        if bare != token:
            return " (names are without folders)" if bare in self.there else ""
        for why, same in LIKE:
            if why not in self.by:
                self.by[why] = {same(name): name for name in reversed(self.known)}
            meant = self.by[why].get(same(token))
            if meant is not None:
                return f" (the data set has {meant!r}: {why})"
        return ""


def find_faults(
    sheet: ParsedSubmission,
    tokens: Names,
    length: int,
    left_out: Collection[str] = (),
    settable: bool = True,
    apart: Mapping[str, Collection[str]] | None = None,
) -> list[Fault]:
    """All faults, sorted by line; empty for a valid file.

    Args:
        sheet: the parsed file.
        tokens: names of the data set as the format's tokens.
        length: of every list.
        left_out: tokens of gallery images that lists must not have.
        settable: whether competition.top_k sets the length of lists.
        apart: query -> gallery images that its own list must not have, by the rules itself and same_sequence.
    """
    faults = list(sheet.faults)
    asked, there = set(tokens.query), set(tokens.gallery).difference(left_out)
    query_guess, gallery_guess = Guess(tokens.query, asked), Guess(tokens.gallery, there, left_out)
    answers, first = sheet.answers, dict[str, int]()
    short = _without_zeros(answers.queries, tokens.query)
    if short:
        told = f"{len(short):,} of its row ids lack the zeros in front ({short[0]!r} for {tokens.query[0]!r})"
        return [*faults, Fault(None, f"{told}, as a spreadsheet saves them; write them as text")]
    if apart:
        length = min(length, max(len(there) - len(there.intersection(apart.get(q, ()))) for q in asked))
    lengths = {len(names) for names in answers.lists}
    if len(lengths) == 1 and len(answers.lists) > 1 and not lengths & {0, length}:
        (one,) = lengths
        told = f"each of its {len(answers.lists):,} lists has length {one:,}; wanted {length:,}"
        does = f". Where {one:,} are right: --set competition.top_k={one}" if settable and one <= len(there) else ""
        faults.append(Fault(None, told + does))
        length = one
    for line, query, names in zip(sheet.lines, answers.queries, answers.lists, strict=True):
        if query not in asked:
            text = f"query {query!r} is not one of the {len(asked):,} queries{query_guess(query)}"
            faults.append(Fault(line, text))
            continue
        if query in first:
            faults.append(Fault(line, f"query {query!r} occurs again; its first answer is in line {first[query]}"))
        first.setdefault(query, line)
        faults += [
            Fault(line, f"query {query!r}: {text}")
            for text in _list_faults(names, there, length, gallery_guess, apart.get(query, ()) if apart else ())
        ]
    missing = [query for query in tokens.query if query not in first]
    if missing and not (sheet.faults and not answers.queries):  # if nothing could be read, that fault is enough
        faults += [Fault(None, f"query {query!r} is not answered") for query in missing]
    return sorted(faults, key=lambda fault: fault.line or 0)


def tokens_apart(left_out: LeftOut | None, query: Sequence[str], gallery: Sequence[str]) -> dict[str, frozenset[str]]:
    """Query -> gallery images that its own list leaves out; query, gallery: tokens of all that is ranked."""
    if left_out is None or not gallery:
        return {}
    parts = np.split(left_out.index, left_out.indptr[1:-1])
    return {q: frozenset(gallery[i] for i in rows) for q, rows in zip(query, parts, strict=True)}


def _without_zeros(queries: Sequence[str], known: Sequence[str]) -> list[str]:
    """Queries without their leading zeros, if all match the known ones in order apart from these; else []."""
    lacking = [q for q, wanted in zip(queries, known, strict=False) if q != wanted]
    same = [q.lstrip("0") for q in queries] == [wanted.lstrip("0") for wanted in known]
    return lacking if same and all(is_number(q) for q in lacking) else []


def _list_faults(
    names: Sequence[str], there: set[str], length: int, guess: Guess, apart: Collection[str]
) -> Iterable[str]:
    length = min(length, len(there) - len(there.intersection(apart)))
    own = {*names}.intersection(apart)
    if own:
        more = f", and {len(own) - 1} more such images" if len(own) > 1 else ""
        yield f"{next(n for n in names if n in own)!r} is the query itself or of its sequence{more}; leave it out"
    if len(names) != length:
        yield f"a list of {len(names):,}; wanted {length:,}"
    distinct = set(names)
    if len(distinct) < len(names):
        token, times = next((n, c) for n, c in Counter(names).items() if c > 1)
        others = len(names) - len(distinct) - times + 1
        yield f"{token!r} occurs {times} times" + (f", and {others} more repeats" if others else "")
    unknown = distinct - there
    if unknown:
        token = next(n for n in names if n in unknown)
        more = f", nor are {len(unknown) - 1} more of its names" if len(unknown) > 1 else ""
        yield f"{token!r} is not in the gallery{guess(token)}{more}"


def suspicions(sheet: ParsedSubmission, tokens: Names) -> list[str]:
    """Notes on numbers that probably start at 1 instead of 0, or at 0 instead of 1."""
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
            f"its numbers run from {min(numbers)} to {max(numbers)}, the data set's from {first} to {last}: "
            f"the file probably counts from {other}"
        ]
    unused = len(tokens.gallery) - len(numbers & set(range(first, last + 1)))
    if unused <= 0.01 * len(tokens.gallery):
        return [
            f"{lacking} is one of the {unused} numbers that it never uses: does it count from {other}, not {first}?"
        ]
    return []


def counts_from(tokens: Sequence[str]) -> int | None:
    """0 or 1 if the tokens are consecutive numbers from 0 or 1, else None."""
    for first in (0, 1):
        if len(tokens) > 1 and all(t == str(i) for i, t in enumerate(tokens, first)):
            return first
    return None
