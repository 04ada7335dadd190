"""The scores of a build: each member alone, the members' sum, the sum re-ranked; all under one rule."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from configs.errors import ResultError
from configs.schema import Competition, Ensemble
from configs.store.code_version import CodeVersion
from configs.store.store import Address, Store
from ensemble.features.feature_bank import open_banks
from ensemble.fusion.strategy import rerank_request
from ensemble.metrics.competition_score import describe, score_stream
from ensemble.results.build_record import Evaluation
from ensemble.results.cache_keys import METRICS, retrieval_code
from ensemble.results.pseudo_settings import guessed_labels
from ensemble.results.whitening_settings import whitened_features
from submit.signature import differences
from submit.systems import System, systems_of

SCORES = "scores.json"
HERE = Path(__file__).parent
COLUMNS = {"rank-1": "rank1", "mAP": "map", "mINP": "minp", "total": "total"}
SCORE = "score.json"


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
        "rerank": rerank_request(ensemble),
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
    notes = guessed_labels(ensemble) | whitened_features(ensemble)
    systems = systems_of(store, evaluation, banks, ensemble, device)
    return [_row(system, evaluation, competition, notes) for system in systems]


def _row(system: System, evaluation: Evaluation, competition: Competition, notes: Mapping[str, str]) -> Row:
    said = {"distance": "cosine", "rerank": system.settings, "members": system.members, **notes, "code": _code()}
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


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print scores in per cent under the rules they were measured by; what reads as the best of a column is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    cells = {field: [f"{100 * getattr(row, field):.1f}" for row in rows] for field in COLUMNS.values()}
    best = {field: max(texts, key=float) for field, texts in cells.items()}
    for i, row in enumerate(rows):
        texts = [cells[field][i] for field in COLUMNS.values()]
        marks = [f"[bold]{t}[/bold]" if t == best[f] else t for t, f in zip(texts, COLUMNS.values(), strict=True)]
        table.add_row(row.name, *marks)
    console.print(f"{title}; {describe(rows[0].signature)}", soft_wrap=True, markup=False)
    console.print()
    console.print(table)
    console.print()


def load_scores(folder: Path) -> dict[str, list[Row]]:
    """The scores that `submit.make` wrote into a folder.

    Raises:
        ResultError: there are none, or they cannot be read.
    """
    path = folder / SCORE if folder.is_dir() else folder
    try:
        raw: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {name: [Row(**row | {"cmc": tuple(row["cmc"])}) for row in rows] for name, rows in raw.items()}
    except OSError as e:
        raise ResultError(f"{path}: cannot be read ({e.strerror}); give a folder that submit.make wrote") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ResultError(f"{path}: not the scores of a submission ({e}); give a folder that submit.make wrote") from e


def compare(ours: Mapping[str, Sequence[Row]], theirs: Mapping[str, Sequence[Row]], against: str) -> list[str]:
    """A line an evaluation: what the last row gained on the other's last row, or why that cannot be said."""
    lines = []
    for name, rows in ours.items():
        others = theirs.get(name, ())
        if not rows or not others:
            lines.append(f"{name}: nothing to compare with {against}")
            continue
        unlike = differences(others[-1].signature, rows[-1].signature)
        if unlike:
            lines.append(f"{name}: not comparable with {against}: {'; '.join(unlike)}")
            continue
        gains = [
            f"{word} {100 * (getattr(rows[-1], field) - getattr(others[-1], field)):+.1f}"
            for word, field in (("total", "total"), ("rank-1", "rank1"), ("mAP", "map"))
        ]
        lines.append(f"{name}: {rows[-1].name} against {others[-1].name} of {against}: {', '.join(gains)}")
    return lines
