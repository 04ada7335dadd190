"""What the competition's rules leave out of the queries' lists of a test."""

from __future__ import annotations

from ensemble.kernels.left_out import LeftOut, leave_out
from models.data.itself import ITSELF, SAME_SEQUENCE
from models.data.split import Split, own_rows, sequences_of


def left_out_rows(junk: str, query: Split, gallery: Split) -> dict[str, list[int]]:
    """What the competition's rules leave out of the queries' lists, as fields of an `Evaluation`."""
    rules, out = junk.split("+"), dict[str, list[int]]()
    own, sequences = own_rows(query, gallery), sequences_of(query, gallery)
    if ITSELF in rules and (own >= 0).any():
        out["own"] = own.tolist()
    if SAME_SEQUENCE in rules and sequences is not None:
        out |= {"query_sequences": sequences[0].tolist(), "gallery_sequences": sequences[1].tolist()}
    return out


def left_out_of(junk: str, query: Split, gallery: Split) -> LeftOut | None:
    """The same, as searches take it; None for nothing."""
    rows = left_out_rows(junk, query, gallery)
    sequences = (rows["query_sequences"], rows["gallery_sequences"]) if "query_sequences" in rows else None
    return leave_out(len(query), len(gallery), rows.get("own"), sequences)
