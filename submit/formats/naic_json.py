"""NAIC: one JSON object, query name -> gallery names, best first."""

from __future__ import annotations

import json
from typing import Any

from configs.errors import SubmissionError
from submit.formats.base import Format, Lists


def write(lists: Lists) -> bytes:
    """UTF-8 JSON, a query a line, in the order given."""
    lines = (f"{_text(query)}: {_text(list(names))}" for query, names in lists.items())
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


def read(content: bytes) -> dict[str, list[str]]:
    """The lists of a file from anyone.

    Raises:
        SubmissionError: not UTF-8, not JSON, a query twice, or a list that holds something else than names.
    """
    try:
        loaded = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except UnicodeDecodeError as e:
        raise SubmissionError(f"not UTF-8 (byte {e.start}); naic_json is UTF-8 text") from e
    except json.JSONDecodeError as e:
        raise SubmissionError(f"line {e.lineno}: not JSON ({e.msg})") from e
    except RecursionError as e:
        raise SubmissionError("nested too deeply; naic_json is one object of lists") from e
    if not isinstance(loaded, dict):
        raise SubmissionError(f"holds {type(loaded).__name__}; naic_json is one object: query name -> list of names")
    for query, names in loaded.items():
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise SubmissionError(f"query {query!r}: wanted a list of gallery names, came {str(names)[:60]!r}")
    return loaded


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(n for n in names if names.count(n) > 1)
        raise SubmissionError(f"query {twice!r} is there twice; every query is answered once")
    return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


NAIC_JSON = Format("submission.json", write, read)
