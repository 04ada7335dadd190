"""ATRW (Li et al., ACM MM 2020): `[{"query_id": 0, "ans_ids": [7, 3, ...]}, ...]`, images by their numbers."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from submit.formats.base import Answers, Fault, Format, Names, ParsedSubmission, broken, decode_text, is_number
from submit.formats.json_scan import elements, kind

KEYS = {"query_id", "ans_ids"}


def tokens(names: Names) -> Names:
    """The number in a file name (`000123.jpg` is 123); indices from 0 if names are not distinct numbers."""
    stems = [PurePosixPath(n).stem for n in dict.fromkeys(names.query + names.gallery)]
    numbers = {int(s) for s in stems if is_number(s)}
    if len(numbers) == len(stems):
        query, gallery = ([str(int(PurePosixPath(n).stem)) for n in side] for side in (names.query, names.gallery))
    else:
        query, gallery = ([str(i) for i in range(len(side))] for side in (names.query, names.gallery))
    return Names(tuple(query), tuple(gallery))


def write(answers: Answers) -> bytes:
    """One query per line."""
    rows = (
        json.dumps({"query_id": int(query), "ans_ids": [int(t) for t in numbers]})
        for query, numbers in zip(answers.queries, answers.lists, strict=True)
    )
    return ("[\n" + ",\n".join(rows) + "\n]\n").encode("ascii")


def read(content: bytes) -> ParsedSubmission:
    """Parse a list of objects."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    queries: list[str] = []
    lists: list[list[str]] = []
    lines: list[int] = []
    faults: list[Fault] = []
    try:
        for place, (line, entry) in enumerate(elements(text), 1):
            odd = _odd(entry)
            if odd:
                faults.append(Fault(line, f"entry {place}: {odd}"))
                continue
            queries.append(str(entry["query_id"]))
            lists.append([str(t) for t in entry["ans_ids"]])
            lines.append(line)
    except json.JSONDecodeError as e:
        return broken(e.lineno, f"not atrw_json: {e.msg} (column {e.colno})")
    except RecursionError:
        return broken(None, "not atrw_json: nested too deeply; wanted one list of objects")
    return ParsedSubmission(Answers(queries, lists), lines, tuple(faults), notes)


def _odd(entry: Any) -> str | None:
    """What is wrong with one entry, as text; None if nothing."""
    if type(entry) is not dict:
        return f"{kind(entry)}; wanted an object with query_id and ans_ids"
    if set(entry) != KEYS:
        return f"keys {sorted(entry)}; wanted query_id and ans_ids"
    if type(entry["query_id"]) is not int:
        return f"query_id is {kind(entry['query_id'])}; wanted a whole number"
    answers = entry["ans_ids"]
    if not isinstance(answers, list):
        return f"ans_ids is {kind(answers)}; wanted a list of whole numbers"
    odd = next((i for i, x in enumerate(answers) if type(x) is not int), None)
    return None if odd is None else f"ans_ids has {kind(answers[odd])} in place {odd + 1}; wanted whole numbers"


ATRW_JSON = Format("submission.json", write, read, tokens)
