"""Scores for the terminal: one table, the same in a pipe as on a screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ensemble.metrics.competition_score import describe
from submit.build_scores import Row

COLUMNS = {"rank-1": "rank1", "mAP": "map", "mINP": "minp", "total": "total"}


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
