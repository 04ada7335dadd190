"""The scores of a build: each member alone, the members' sum, the sum re-ranked; all under one rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from configs.schema import Competition, Ensemble
from configs.store.code_version import CodeVersion
from configs.store.store import Address, Store
from ensemble.features.feature_bank import open_banks
from ensemble.metrics.competition_score import score_stream
from ensemble.pseudo.labelling import guessed_labels
from ensemble.results.build_record import Evaluation
from ensemble.results.cache_keys import METRICS, rerank_settings, retrieval_code
from submit.systems import System, systems_of

SCORES = "scores.json"
HERE = Path(__file__).parent


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
        **guessed_labels(ensemble),
        "rule": {k: getattr(competition, k) for k in ("ap", "junk", "top_k")} | competition.score.model_dump(),
        "code": _code(),
    }

    def make(folder: Path) -> None:
        rows = _measure(store, evaluation, ensemble, competition, device)
        (folder / SCORES).write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")

    kept = store.get(Address("scores", name, request), make)
    raw: list[dict[str, Any]] = json.loads((kept.path / SCORES).read_text(encoding="utf-8"))
    return [Row(**row | {"cmc": tuple(row["cmc"])}) for row in raw]


def _code() -> CodeVersion:
    """Of everything between features and a score."""
    return retrieval_code(METRICS, HERE / "build_scores.py", HERE / "systems.py")


def _measure(
    store: Store, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> list[Row]:
    banks = open_banks(store, evaluation.banks)
    guessed, systems = guessed_labels(ensemble), systems_of(store, evaluation, banks, ensemble, device)
    return [_row(system, evaluation, competition, guessed) for system in systems]


def _row(system: System, evaluation: Evaluation, competition: Competition, guessed: Mapping[str, str]) -> Row:
    said = {"distance": "cosine", "rerank": system.settings, "members": system.members, **guessed, "code": _code()}
    score = score_stream(system.stream(), evaluation, competition, said)
    return Row(
        system.name,
        score.rank1,
        score.map,
        score.minp,
        score.total,
        score.cmc,
        score.scored,
        score.skipped,
        score.signature,
    )
