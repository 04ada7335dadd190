"""The one look of printed tables."""

from collections.abc import Sequence

from rich import box
from rich.table import Table


def plain_table(left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table with these columns, aligned left, and then right; a line under the head, no frame."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    return table
