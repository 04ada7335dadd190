"""PRCV: no header; each line is `query,g1,dist1,g2,dist2,...` over the whole gallery, nearest first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from submit.formats.base import (
    Answers,
    BadCsv,
    Fault,
    Format,
    ParsedSubmission,
    broken,
    csv_line,
    csv_rows,
    decode_text,
    parse_number,
)


def write(answers: Answers) -> bytes:
    """One line per query. Distances have nine digits, the precision of float32. Names with commas are quoted.

    Raises:
        ValueError: the answers have no distances.
    """
    if answers.dists is None:
        raise ValueError("prcv_csv needs distances: the answers have none")
    lines = (
        csv_line([query, *(x for name, dist in zip(names, dists, strict=True) for x in (name, f"{dist:.9g}"))])
        for query, names, dists in zip(answers.queries, answers.lists, answers.dists, strict=True)
    )
    return "".join(lines).encode("utf-8")


def read(content: bytes) -> ParsedSubmission:
    """Parse names and distances. Distances must be finite, and must not decrease within a line."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    queries: list[str] = []
    lists: list[list[str]] = []
    all_dists: list[list[float]] = []
    lines: list[int] = []
    faults: list[Fault] = []
    try:
        for line, row in csv_rows(text):
            if not row:
                faults.append(Fault(line, "an empty line"))
                continue
            dists = [parse_number(x) for x in row[2::2]]
            faults += [Fault(line, f"query {row[0]!r}: {text}") for text in _odd(row, dists)]
            queries.append(row[0])
            lists.append(row[1::2])
            all_dists.append(dists)
            lines.append(line)
    except BadCsv as e:
        return broken(e.fault.line, e.fault.text)
    return ParsedSubmission(Answers(queries, lists, all_dists), lines, tuple(faults), notes)


def _odd(row: Sequence[str], dists: Sequence[float]) -> list[str]:
    """What is wrong with a line's distances, as texts."""
    if len(row) % 2 == 0:
        return [f"{len(row) - 1} fields after the query; wanted pairs of name and distance"]
    bad = next((i for i, d in enumerate(dists) if not math.isfinite(d)), None)
    if bad is not None:
        return [f"distance {row[2 + 2 * bad][:40]!r} of place {bad + 1} is not a finite number"]
    falls = next((i for i in range(1, len(dists)) if dists[i] < dists[i - 1]), None)
    if falls is not None:
        return [f"distance {dists[falls]:g} of place {falls + 1} is below the one before it; wanted nearest first"]
    return []


PRCV_CSV = Format("result.csv", write, read, whole=True)
