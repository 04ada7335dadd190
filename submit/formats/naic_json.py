"""NAIC: one JSON object, query name -> gallery names, nearest first."""

from __future__ import annotations

import json
from typing import Any

from submit.formats.base import Answers, Fault, Format, ParsedSubmission, broken, decode_text
from submit.formats.json_scan import kind, members


def write(answers: Answers) -> bytes:
    """UTF-8 JSON, one query per line, in order."""
    lines = (f"{_text(q)}: {_text(list(names))}" for q, names in zip(answers.queries, answers.lists, strict=True))
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


def read(content: bytes) -> ParsedSubmission:
    """Parse the lists; a query that occurs twice is returned twice."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    queries: list[str] = []
    lists: list[list[str]] = []
    lines: list[int] = []
    faults: list[Fault] = []
    try:
        for line, query, value in members(text):
            odd = _odd(value)
            if odd:
                faults.append(Fault(line, f"query {query!r}: wanted a list of gallery names, found {odd}"))
            queries.append(query)
            lists.append([] if odd else value)
            lines.append(line)
    except json.JSONDecodeError as e:
        return broken(e.lineno, f"not naic_json: {e.msg} (column {e.colno})")
    except RecursionError:
        return broken(None, "not naic_json: nested too deeply; wanted one object, query name -> list of names")
    return ParsedSubmission(Answers(queries, lists), lines, tuple(faults), notes)


def _odd(value: Any) -> str | None:
    """What the value is, if it is not a list of texts; None if it is."""
    if not isinstance(value, list):
        return kind(value)
    odd = next((i for i, name in enumerate(value) if not isinstance(name, str)), None)
    return None if odd is None else f"{kind(value[odd])} in place {odd + 1} of the list"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


NAIC_JSON = Format("submission.json", write, read)
