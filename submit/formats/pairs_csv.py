"""Given pairs, as on Kaggle: `row_id,similarity`, in the order of the given rows."""

from __future__ import annotations

import math

from configs.errors import SubmissionError
from ensemble.results.ranking import Ranking
from models.data.layouts.given_pairs import PAIRS
from submit.formats.base import (
    Answers,
    BadCsv,
    Fault,
    Format,
    Names,
    ParsedSubmission,
    broken,
    csv_line,
    csv_rows,
    decode_text,
    parse_number,
)

HEADER = ["row_id", "similarity"]


def tokens(names: Names) -> Names:
    """The row ids are the queries; there is no gallery."""
    return Names(tuple(row for row, _, _ in names.pairs), ())


def arrange(ranking: Ranking, names: Names, tokens: Names) -> Answers:
    """The distance of every given pair; infinite if an image was left out of the ranking, 0 from an image to itself.

    Raises:
        SubmissionError: the ranking does not have the distance of a pair.
    """
    query = {name: i for i, name in enumerate(ranking.query_names)}
    gallery = {name: i for i, name in enumerate(ranking.gallery_names)}
    gone = {*names.query} - {*query}, {*names.gallery} - {*gallery}
    found: dict[int, dict[int, float]] = {}
    dists = []
    for row, q, g in names.pairs:
        if q in gone[0] or g in gone[1]:
            dists.append([math.inf])
            continue
        i, j = query.get(q, -1), gallery.get(g, -1)
        if i >= 0 and i not in found:
            found[i] = dict(zip(ranking.order[i].tolist(), ranking.dist[i].tolist(), strict=True))
        if i >= 0 and j >= 0 and q == g:  # its own list may leave it out
            found[i].setdefault(j, 0.0)
        if i < 0 or j < 0 or j not in found[i]:
            raise SubmissionError(
                f"{PAIRS}, row {row!r}: the distance of {q!r} to {g!r} is unknown. Both must be in the data set, "
                f"and lists must be full (--set competition.top_k={len(ranking.gallery_names)} when building)"
            )
        dists.append([found[i][j]])
    return Answers(tokens.query, [[] for _ in dists], dists)


def write(answers: Answers) -> bytes:
    """Write distances as similarities 1 / (1 + distance), in (0, 1]; an infinite distance becomes 0.

    Raises:
        ValueError: the answers have no distances.
    """
    if answers.dists is None:
        raise ValueError("pairs_csv needs distances: the answers have none")
    pairs = zip(answers.queries, answers.dists, strict=True)
    lines = (csv_line([row, f"{1 / (1 + dist[0]):.9g}"]) for row, dist in pairs)
    return (csv_line(HEADER) + "".join(lines)).encode("utf-8")


def read(content: bytes) -> ParsedSubmission:
    """Parse rows. A similarity must be finite; one in (0, 1] is converted back to a distance."""
    decoded = decode_text(content)
    if isinstance(decoded, Fault):
        return broken(decoded.line, decoded.text)
    text, notes = decoded
    queries = list[str]()
    dists = list[list[float]]()
    lines = list[int]()
    faults = list[Fault]()
    try:
        rows = csv_rows(text)
        header = next(rows, (1, []))[1]
        if header != HEADER:
            return broken(1, f"wanted the header {','.join(HEADER)}; it is {','.join(header)[:80]!r}{_why(header)}")
        for line, row in rows:
            if len(row) != 2:
                whole = ", the whole line in quotes" if len(row) == 1 and "," in row[0] else ""
                faults.append(Fault(line, f"{len(row)} fields{whole}; wanted row_id and similarity"))
                continue
            value = parse_number(row[1])
            if not math.isfinite(value):
                faults.append(Fault(line, f"row {row[0]!r}: similarity {row[1][:40]!r} is not a finite number"))
            queries.append(row[0])
            dists.append([1 / value - 1 if 0 < value <= 1 else math.nan])
            lines.append(line)
    except BadCsv as e:
        return broken(e.fault.line, e.fault.text)
    return ParsedSubmission(Answers(queries, [[] for _ in queries], dists), lines, tuple(faults), notes)


def _why(header: list[str]) -> str:
    """The probable cause of a wrong header."""
    if header == ["", *HEADER]:
        return ", with the index of a pandas table in front: to_csv(index=False) leaves it out"
    return ", set off by ';', as a spreadsheet of another language saves it" if ";".join(HEADER) in header else ""


PAIRS_CSV = Format("submission.csv", write, read, tokens, arrange, scored=False, ordered=True)
