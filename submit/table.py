"""The table on the terminal, and the same as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from submit.score import Row


def show(console: Console, title: str, rows: Sequence[Row]) -> None:
    """Print scores in per cent; the best of each column is bold."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    columns = {"rank-1": "rank1", "mAP": "map", "mINP": "minp", "total": "total"}
    for column in columns:
        table.add_column(column, justify="right")
    best = {field: max(getattr(row, field) for row in rows) for field in columns.values()}
    for row in rows:
        cells = []
        for field in columns.values():
            value = getattr(row, field)
            text = f"{100 * value:.1f}"
            cells.append(f"[bold]{text}[/bold]" if value == best[field] else text)
        table.add_row(row.name, *cells, end_section=row is rows[-1])
    console.print(table)
