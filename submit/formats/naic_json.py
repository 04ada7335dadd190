"""NAIC: one JSON object, query name -> gallery names, best first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from submit.formats.base import Answers, Fault, Format, Sheet, broken, decode_text

SPACE = re.compile(r"[ \t\n\r]*")
KINDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
DECODER = json.JSONDecoder()


def write(answers: Answers) -> bytes:
    """UTF-8 JSON, a query a line, in the order given."""
    lines = (f"{_text(q)}: {_text(list(names))}" for q, names in zip(answers.queries, answers.lists, strict=True))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


def read(content: bytes) -> Sheet:
    """The lists of a file from anyone; a query that is there twice is given twice."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return Sheet(Answers([], []), [], (decoded,))
    text, notes = decoded
    queries: list[str] = []
    lists: list[list[str]] = []
    lines: list[int] = []
    faults: list[Fault] = []
    try:
        for line, query, value in members(text):
            odd = find_odd(value)
            if odd:
                faults.append(Fault(line, f"query {query!r}: wanted a list of gallery names, came {odd}"))
                continue
            queries.append(query)
            lists.append(value)
            lines.append(line)
    except json.JSONDecodeError as e:
        return broken(e.lineno, f"not naic_json: {e.msg} (column {e.colno})")
    except RecursionError:
        return broken(None, "not naic_json: nested too deeply; wanted one object, query name -> list of names")
    except ValueError as e:  # a number of thousands of digits
        return broken(None, f"not naic_json: {e}")
    return Sheet(Answers(queries, lists), lines, tuple(faults), notes)


def members(text: str) -> Iterator[tuple[int, str, Any]]:
    """Line, key and value of every member of the one object in a JSON text, repeated keys too.

    Raises:
        json.JSONDecodeError: it is not JSON, not one object, or more follows. RecursionError: it is too deep.
    """
    at, line, counted = _skip(text, 0), 1, 0
    if text[at : at + 1] != "{":
        raise json.JSONDecodeError("wanted one object, query name -> list of names", text, at)
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] != '"':
            raise json.JSONDecodeError("wanted a query's name in double quotes", text, at)
        line, counted = line + text.count("\n", counted, at), at
        key, at = DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("wanted ':' after a query's name", text, at)
        try:
            value, at = DECODER.raw_decode(text, _skip(text, at + 1))
        except StopIteration as e:
            raise json.JSONDecodeError("wanted a list", text, at) from e
        yield line, key, value
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
            if text[at : at + 1] == "}":
                raise json.JSONDecodeError("a comma before the closing brace", text, at)
        elif text[at : at + 1] != "}":
            raise json.JSONDecodeError("wanted ',' or the closing brace", text, at)
    if _skip(text, at + 1) != len(text):
        raise json.JSONDecodeError("more text after the closing brace", text, _skip(text, at + 1))


def find_odd(value: Any) -> str | None:
    """What stands where a list of texts should, in words; None where it is one."""
    if not isinstance(value, list):
        return kind(value)
    odd = next((i for i, name in enumerate(value) if not isinstance(name, str)), None)
    return None if odd is None else f"{kind(value[odd])} in place {odd + 1} of the list"


def kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, float) and not -1e308 <= value <= 1e308:
        return f"{value} (not JSON)"
    return KINDS.get(type(value), "null")


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


NAIC_JSON = Format("submission.json", write, read)
