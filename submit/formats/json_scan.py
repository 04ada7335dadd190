"""JSON read entry by entry, with the line of each: a checker says where, and a repeated key is not swallowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

HUGE = "a number of thousands of digits in the value that begins here"
SPACE = re.compile(r"[ \t\n\r]*")
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


class Repeated(dict[str, Any]):
    """An object in which a key is there twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs) if len({k for k, _ in pairs}) == len(pairs) else Repeated(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=_object)


class Scan:
    """A place in a JSON text, moved on piece by piece."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self._line, self._counted = text, 0, 1, 0
        self.skip()

    @property
    def line(self) -> int:
        """Of this place, from 1."""
        self._line, self._counted = self._line + self.text.count("\n", self._counted, self.at), self.at
        return self._line

    def skip(self) -> None:
        """Go on past white space."""
        found = SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def sees(self, mark: str) -> bool:
        """Whether this mark comes next."""
        return self.text.startswith(mark, self.at)

    def take(self, mark: str, wanted: str) -> None:
        """Go on past a mark that must come next."""
        if not self.sees(mark):
            raise json.JSONDecodeError(wanted, self.text, self.at)
        self.at += len(mark)
        self.skip()

    def value(self) -> Any:
        """The value that comes next, whole."""
        try:
            value, self.at = DECODER.raw_decode(self.text, self.at)
        except StopIteration as e:
            raise json.JSONDecodeError("wanted a value", self.text, self.at) from e
        except json.JSONDecodeError:
            raise
        except ValueError as e:  # Python reads no number of thousands of digits
            raise json.JSONDecodeError(HUGE, self.text, self.at) from e
        self.skip()
        return value

    def entries(self, first: str, last: str, wanted: str) -> Iterator[None]:
        """Stop at each entry of the one list or object that the text holds; the caller takes the entry."""
        self.take(first, wanted)
        if not self.sees(last):
            while True:
                yield
                if self.sees(last):
                    break
                self.take(",", f"wanted ',' or '{last}'")
        self.take(last, f"wanted '{last}'")
        if self.at != len(self.text):
            raise json.JSONDecodeError(f"more text after the closing '{last}'", self.text, self.at)


def members(text: str) -> Iterator[tuple[int, str, Any]]:
    """Line, key and value of every member of the one object in a text, repeated keys too.

    Raises:
        json.JSONDecodeError: it is not JSON, not one object, or more follows. RecursionError: it is too deep.
    """
    scan = Scan(text)
    for _ in scan.entries("{", "}", "wanted one object, query name -> list of names"):
        line = scan.line
        if not scan.sees('"'):
            raise json.JSONDecodeError("wanted a query's name in double quotes", text, scan.at)
        key = scan.value()
        scan.take(":", "wanted ':' after a query's name")
        yield line, key, scan.value()


def elements(text: str) -> Iterator[tuple[int, Any]]:
    """Line and value of every element of the one list in a text.

    Raises:
        As `members`.
    """
    scan = Scan(text)
    for _ in scan.entries("[", "]", "wanted one list of objects"):
        line = scan.line
        yield line, scan.value()


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, Repeated):
        return "an object with a repeated key"
    if isinstance(value, float) and not -1e308 <= value <= 1e308:
        return f"{value} (not JSON)"
    return KINDS.get(type(value), "null")
