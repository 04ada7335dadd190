"""The scores of a build: each member alone, the members' sum, the sum re-ranked; all under one rule."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.artifact import Address, Store
from configs.schema import Competition, Ensemble
from configs.version import code_version
from ensemble import fuse
from ensemble.addresses import rerank_settings, retrieval_code
from ensemble.kept import load_neighbours, open_banks
from ensemble.mix import mix_of
from ensemble.mix import stream as mixed
from ensemble.record import Evaluation
from ensemble.rule import score_stream

SCORES = "scores.json"
HERE = Path(__file__).parent
ENSEMBLE = HERE.parent / "ensemble"


@dataclass(frozen=True)
class Row:
    """One line of the table. rank1, map, minp, total: in 0..1. cmc: at 1, 5, 10."""

    name: str
    rank1: float
    map: float
    minp: float
    total: float
    cmc: tuple[float, ...]
    scored: int
    skipped: int
    signature: str


def score_evaluation(
    store: Store, name: str, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> list[Row]:
    """The rows of one evaluation, kept under their own address; a second call only reads them.

    Args:
        name: of the evaluation: test, or holdout.
        evaluation: its lists with identities, and the keys of its banks and neighbours.

    Returns:
        A row a member, then `sum` where there are several, then that re-ranked; none where there is nothing to score.
    """
    if not evaluation.query_pids:
        return []
    request = {
        "evaluation": asdict(evaluation),
        "weights": ensemble.weights,
        "rerank": rerank_settings(ensemble),
        "rule": {k: getattr(competition, k) for k in ("ap", "junk", "top_k")} | competition.score.model_dump(),
        "code": _code(),
    }

    def make(folder: Path) -> None:
        rows = _measure(store, evaluation, ensemble, competition, device)
        (folder / SCORES).write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")

    kept = store.get(Address("scores", name, request), make)
    raw: list[dict[str, Any]] = json.loads((kept.path / SCORES).read_text(encoding="utf-8"))
    return [Row(**row | {"cmc": tuple(row["cmc"])}) for row in raw]


def _code() -> str:
    """Of everything between features and a score."""
    return retrieval_code() + code_version(
        HERE / "evaluation.py", *(ENSEMBLE / f"{name}.py" for name in ("metrics", "rule"))
    )


def _measure(
    store: Store, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> list[Row]:
    banks = open_banks(store, evaluation.banks)
    weights = [ensemble.weights.get(bank.member, 1.0) for bank in banks]
    feats, n_query = [bank.feats for bank in banks], banks[0].n_query
    members = "+".join(f"{b.fingerprint.split('/')[1]}*{w:g}" for b, w in zip(banks, weights, strict=True))
    rows = []
    for bank in banks:
        stream = fuse.blocks(bank.feats, n_query, device=device)
        rows.append(_row(bank.member, stream, evaluation, competition, bank.fingerprint.split("/")[1], "none"))
    if len(banks) > 1:
        stream = fuse.blocks(feats, n_query, weights=weights, device=device)
        rows.append(_row("sum", stream, evaluation, competition, members, "none"))
    mix = mix_of(ensemble, [bank.member for bank in banks])
    if mix.rerank != "none":
        near = load_neighbours(store.open(evaluation.neighbours)) if evaluation.neighbours else None
        stream = mixed(mix, feats, n_query, near=near, device=device)
        whole = "sum of re-ranked" if mix.each else "sum, re-ranked"
        name = whole if len(banks) > 1 else f"{banks[0].member}, re-ranked"
        rows.append(_row(name, stream, evaluation, competition, members, mix.describe()))
    return rows


def _row(
    name: str,
    stream: Iterable[fuse.Block],
    evaluation: Evaluation,
    competition: Competition,
    members: str,
    settings: str,
) -> Row:
    said = {"distance": "cosine", "rerank": settings, "members": members, "code": _code()}
    score = score_stream(stream, evaluation, competition, said)
    return Row(
        name, score.rank1, score.map, score.minp, score.total, score.cmc, score.scored, score.skipped, score.signature
    )
