"""Score streams of distances by a competition's rule, with a signature that names the rule."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.schema import JUNK_RULES, NO_JUNK, Competition
from ensemble.metrics import retrieval_metrics
from ensemble.metrics.retrieval_metrics import Score
from ensemble.results.build_record import Evaluation

if TYPE_CHECKING:
    from ensemble.neighbours import distance_blocks

UNKNOWN = -1
SAME_CAM = JUNK_RULES[1]
SAID = {
    "itself": "each image left out of its own list",
    "same_pid_same_cam": "junk: same person, same camera",
    "same_sequence": "images of the same sequence left out",
    "none": "no junk",
}


def data_digest(*lists: Iterable[int]) -> str:
    """8 hex digits: a hash of the identities and cameras of query and gallery. Only equal digests are comparable."""
    text = json.dumps([[int(x) for x in numbers] for numbers in lists])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def score_stream(
    stream: Iterable[distance_blocks.Block],
    evaluation: Evaluation,
    competition: Competition,
    extra: Mapping[str, object],
) -> Score:
    """Score streamed distances. Cameras are used if both sides know any.

    Args:
        stream: pairs (slice of queries, (b, G) distances).
        extra: further entries of the signature.
    """
    e, ap = evaluation, competition.ap
    cams = cameras(e.query_camids, e.gallery_camids)
    return retrieval_metrics.evaluate_blocks(
        stream,
        np.array(e.query_pids),
        np.array(e.gallery_pids),
        *(cams or (None, None)),
        ap=ap,
        junk=junk_of(competition, cams),
        left_out=e.left_out,
        top_k=None if ap == "market" else competition.top_k,
        weights=(competition.score.rank1, competition.score.map),
        extra={
            "data": data_digest(e.query_pids, e.query_camids, e.gallery_pids, e.gallery_camids, *left_out_ids(e)),
            **find_themselves(e.itself, cams if junk_of(competition, cams) != NO_JUNK else None),
            **extra,
        },
    )


def junk_of(competition: Competition, cams: object | None) -> str:
    """The rule that removes images by identity and camera, if it is asked for and cameras are known."""
    return SAME_CAM if SAME_CAM in competition.junk.split("+") and cams else NO_JUNK


def left_out_ids(evaluation: Evaluation) -> list[list[int]]:
    """What a score depends on beside identities and cameras; empty without rules that leave images out of lists."""
    lists = evaluation.own, evaluation.query_sequences, evaluation.gallery_sequences
    return [*lists] if any(lists) else []


def cameras(query: ArrayLike, gallery: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Cameras of query and gallery, -1 for unknown; None if a side knows none, so that no junk rule uses them."""
    sides = np.asarray(query, np.int64), np.asarray(gallery, np.int64)
    return sides if all((side != UNKNOWN).any() for side in sides) else None


def find_themselves(itself: ArrayLike, cams: tuple[NDArray[np.int64], NDArray[np.int64]] | None) -> dict[str, int]:
    """How many queries find their own image, as an entry of a signature.

    Args:
        itself: (Q,) gallery row of each query's own image, -1 for none; may be empty.
        cams: cameras of query and gallery, if images of the query's camera are junk.
    """
    rows = np.asarray(itself, np.int64)
    there = rows >= 0
    if cams is not None and rows.size:
        there &= ~((cams[0] == cams[1][rows]) & (cams[0] != UNKNOWN))
    return {"itself": int(there.sum())} if there.any() else {}


def total_per_query(score: Score, competition: Competition) -> NDArray[np.float64]:
    """(Q,) total of each query, NaN for skipped queries. Their mean is the total."""
    weights = competition.score
    per_query: NDArray[np.float64] = weights.rank1 * score.hit_per_query + weights.map * score.ap_per_query
    return per_query


def parse(signature: str) -> dict[str, str]:
    """The entries of a signature: key -> value."""
    return dict(part.partition("=")[::2] for part in signature.split("|") if part)


def describe(signature: str) -> str:
    """The rules in readable form: `AP 'hits' at 200, no junk, total = 0.5 rank-1 + 0.5 mAP`."""
    says = parse(signature)
    at = "" if says["ap"] == "market" else f" at {says['k']}"
    junk = ", ".join(SAID.get(rule, rule) for rule in says["junk"].split("+"))
    total = says["weights"].replace("*rank1+", " rank-1 + ").replace("*map", " mAP")
    skipped = "" if says["skipped"] == "0" else f", {int(says['skipped']):,} queries skipped"
    itself = int(says.get("itself", 0))
    found = f", {itself:,} {'query finds its' if itself == 1 else 'queries find their'} own image" if itself else ""
    return f"AP '{says['ap']}'{at}, {junk}{skipped}{found}, total = {total}"
