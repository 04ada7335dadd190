"""The style of all printed tables."""

from collections.abc import Sequence

from rich import box
from rich.table import Table


def plain_table(left: Sequence[str], right: Sequence[str] = ()) -> Table:
    """A table with left-aligned, then right-aligned columns, a line under the head, and no frame."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    return table
