"""A label list without images: lines `name.png:id` or `folder/name.png id`, as in the NAIC competitions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from configs.errors import DataError
from models.data.doctor.finding import HURTS, NOTE, Finding, count
from models.data.layouts.lists import read_lines, whole_number
from models.data.split import UNKNOWN, Benchmark, make_split

WANTED = "lines 'name.png:id' or 'folder/name.png id'"


def read_label_list(path: Path) -> tuple[Benchmark, list[Finding]]:
    """The list as a benchmark with training images only, and its faults. The first line of a name counts.

    Raises:
        DataError: a line has neither form.
    """
    pids: dict[str, int] = {}
    again: list[str] = []
    against: list[str] = []
    for number, line in read_lines(path, "(a label list)", WANTED):
        where = f"{path}, line {number}"
        name, mark, pid = line.rpartition(":") if ":" in line else line.rpartition(" ")
        if not mark or not name.strip():
            raise DataError(f"{where}: {line!r}; must be {WANTED}")
        name, label = PurePosixPath(name.strip()).name, whole_number(pid.strip(), "the id", where)
        if name not in pids:
            pids[name] = label
        elif pids[name] == label:
            again.append(f"line {number}: {name} is person {label} again")
        else:
            against.append(f"line {number}: {name} is person {label} here and {pids[name]} earlier")
    found = []
    if against:
        does = "one of the two is wrong, and reading the data set stops"
        found.append(
            Finding(
                HURTS, f"{count(len(against), 'name has', 'names have')} a second identity", does, tuple(against[:3])
            )
        )
    if again:
        found.append(
            Finding(
                NOTE,
                f"{count(len(again), 'line repeats', 'lines repeat')} a name",
                "the second has no effect",
                tuple(again[:3]),
            )
        )
    rows = [(name, path.parent / name, pid, UNKNOWN) for name, pid in pids.items()]
    empty = make_split([])
    return Benchmark("label list", path.parent, make_split(rows), empty, empty, empty), found
