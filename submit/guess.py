"""What was probably meant by a name that a data set does not have, as a half-sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath

from submit.formats.base import is_number

Likeness = tuple[str, Callable[[str], str]]
LIKE: tuple[Likeness, ...] = (
    ("another Unicode normal form", lambda s: unicodedata.normalize("NFC", s)),
    ("other spaces around it", str.strip),
    ("other capitals", str.casefold),
    ("another ending", lambda s: s.rpartition(".")[0] or s),
)


class Guess:
    """Guesses among the known names; what it looks names up by is made once, for a file with a fault in every line."""

    def __init__(self, known: Sequence[str], there: set[str], left_out: Collection[str] = ()) -> None:
        self.known, self.there, self.left_out = known, there, left_out
        self.by: dict[str, dict[str, str]] = {}

    def __call__(self, token: str) -> str:
        """` (what was probably meant)`, or nothing."""
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
