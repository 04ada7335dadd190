"""The scores of a build by one rule: each member alone, the members' sum, and the re-ranked sum."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from configs.console.tables import plain_table
from configs.errors import ResultError
from configs.schema import Competition, Ensemble
from configs.store.code_version import CodeVersion
from configs.store.store import Address, Store
from ensemble.features.feature_bank import open_banks
from ensemble.fusion.strategy import rerank_request
from ensemble.metrics.bootstrap import difference, interval
from ensemble.metrics.competition_score import describe, parse, score_stream, total_per_query
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
    """One row of the table. rank1, map, minp, total: in 0..1. cmc: at 1, 5, 10.

    spread: (low, high) of the total, 95 % over persons. gain: (mean, low, high) of the change by re-ranking, per query;
    None if the system does not re-rank, and in scores of an earlier version.
    """

    name: str
    rank1: float
    map: float
    minp: float
    total: float
    cmc: tuple[float, ...]
    scored: int
    skipped: int
    signature: str
    spread: tuple[float, float] | None = None
    gain: tuple[float, float, float] | None = None

    @property
    def cut(self) -> bool:
        """Whether the lists are cut. Then mINP is unknown: the last right image may not be in the list."""
        return parse(self.signature)["ap"] != "market"


def score_evaluation(
    store: Store, name: str, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> list[Row]:
    """The rows of one evaluation. They are cached, so a second call only reads them.

    Args:
        name: test or holdout.
        evaluation: its lists with identities, and the keys of its banks and neighbours.

    Returns:
        A row per member, then `sum` if there are several members, then the re-ranked sum. Empty without identities.
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
    return [_read(row) for row in raw]


def _read(row: Mapping[str, Any]) -> Row:
    lists = {key: tuple(row[key]) for key in ("cmc", "spread", "gain") if row.get(key) is not None}
    return Row(**{**row, **lists})


def _code() -> CodeVersion:
    """The code version of everything between features and a score."""
    return retrieval_code(METRICS, HERE / "build_scores.py", HERE / "systems.py")


def _measure(
    store: Store, evaluation: Evaluation, ensemble: Ensemble, competition: Competition, device: str
) -> list[Row]:
    banks = open_banks(store, evaluation.banks)
    notes = guessed_labels(ensemble) | whitened_features(ensemble)
    systems = systems_of(store, evaluation, banks, ensemble, device)
    persons, rows, before = np.array(evaluation.query_pids), list[Row](), None
    for system in systems:
        row, totals = _row(system, evaluation, competition, notes)
        if not np.isnan(totals).all():
            spread = interval(totals, groups=persons)
            row = replace(row, spread=(spread.low, spread.high))
            if before is not None and "re-ranked" in system.name:
                gain = difference(totals, before, groups=persons)
                row = replace(row, gain=(gain.mean, gain.low, gain.high))
        rows.append(row)
        before = totals
    return rows


def _row(
    system: System, evaluation: Evaluation, competition: Competition, notes: Mapping[str, str]
) -> tuple[Row, NDArray[np.float64]]:
    """A system's row, and (Q,) each query's contribution to its total."""
    said = {"distance": "cosine", "rerank": system.settings, "members": system.members, **notes, "code": _code()}
    score = score_stream(system.stream(), evaluation, competition, said)
    row = Row(
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
    return row, total_per_query(score, competition)


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print scores in per cent, with their rule as the title. The best printed value of a column is bold."""
    table = plain_table([""], list(COLUMNS))
    cells = {field: [f"{100 * getattr(row, field):.1f}" for row in rows] for field in COLUMNS.values()}
    best = {field: max(texts, key=float) for field, texts in cells.items()}
    if rows[0].cut:
        cells["minp"], best["minp"] = ["-"] * len(rows), ""
    for i, row in enumerate(rows):
        texts = [cells[field][i] for field in COLUMNS.values()]
        marks = [f"[bold]{t}[/bold]" if t == best[f] else t for t, f in zip(texts, COLUMNS.values(), strict=True)]
        table.add_row(row.name, *marks)
    console.print(f"{title}; {describe(rows[0].signature)}", soft_wrap=True, markup=False)
    console.print()
    console.print(table)
    if (spread := rows[-1].spread) is not None:
        low, high = (100 * x for x in spread)
        last = f"total of {rows[-1].name}: {100 * rows[-1].total:.1f} ({low:.1f} to {high:.1f}, 95 % over persons)"
        console.print(last, soft_wrap=True, markup=False)
    if rows[0].cut:
        console.print("mINP needs whole lists; these are cut", soft_wrap=True)
    console.print()


def load_scores(folder: Path) -> dict[str, list[Row]]:
    """The scores that `submit.make` wrote into a folder.

    Raises:
        ResultError: the scores are missing, or cannot be read.
    """
    path = folder / SCORE if folder.is_dir() else folder
    try:
        raw: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {name: [_read(row) for row in rows] for name, rows in raw.items()}
    except OSError as e:
        raise ResultError(f"{path}: cannot be read ({e.strerror}); give a folder that submit.make wrote") from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise ResultError(f"{path}: not the scores of a submission ({e}); give a folder that submit.make wrote") from e


def compare(ours: Mapping[str, Sequence[Row]], theirs: Mapping[str, Sequence[Row]], against: str) -> list[str]:
    """A line per evaluation: the gain of our last row over their last row, or why they cannot be compared."""
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
