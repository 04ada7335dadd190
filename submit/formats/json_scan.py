"""Read JSON entry by entry, with line numbers. Repeated keys are kept, so that they can be reported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

HUGE = "a number of thousands of digits in the value that begins here"
SPACE = re.compile(r"[ \t\n\r]*")
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


class Repeated(dict[str, Any]):
    """An object with a repeated key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs) if len({k for k, _ in pairs}) == len(pairs) else Repeated(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=_object)


class Scan:
    """A position in a JSON text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._line = 1
        self._counted = 0
        self.skip()

    @property
    def line(self) -> int:
        """Line of the position, from 1."""
        self._line, self._counted = self._line + self.text.count("\n", self._counted, self.at), self.at
        return self._line

    def skip(self) -> None:
        """Skip white space."""
        found = SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def sees(self, mark: str) -> bool:
        """Whether `mark` comes next."""
        return self.text.startswith(mark, self.at)

    def take(self, mark: str, wanted: str) -> None:
        """Skip a mark that must come next."""
        if not self.sees(mark):
            raise json.JSONDecodeError(wanted, self.text, self.at)
        self.at += len(mark)
        self.skip()

    def value(self) -> Any:
        """Read the next value."""
        try:
            value, self.at = DECODER.raw_decode(self.text, self.at)
        except StopIteration as e:
            raise json.JSONDecodeError("wanted a value", self.text, self.at) from e
        except json.JSONDecodeError:
            raise
        except ValueError as e:  # Python rejects numbers of thousands of digits
            raise json.JSONDecodeError(HUGE, self.text, self.at) from e
        self.skip()
        return value

    def entries(self, first: str, last: str, wanted: str) -> Iterator[None]:
        """Stop at each entry of the single list or object in the text; the caller reads the entry."""
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
    """Line, key and value of every member of the single object in a text, repeated keys included.

    Raises:
        json.JSONDecodeError: not JSON, not an object, or more text follows.
        RecursionError: nested too deeply.
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
    """Line and value of every element of the single list in a text.

    Raises:
        As `members`.
    """
    scan = Scan(text)
    for _ in scan.entries("[", "]", "wanted one list of objects"):
        line = scan.line
        yield line, scan.value()


def kind(value: Any) -> str:
    """The type of a JSON value, as text."""
    if isinstance(value, Repeated):
        return "an object with a repeated key"
    if isinstance(value, float) and not -1e308 <= value <= 1e308:
        return f"{value} (not JSON)"
    return KINDS.get(type(value), "null")
