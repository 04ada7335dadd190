"""Images that a competition's `skip` leaves out of a data set's lists, and findings about them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from configs.errors import ConfigError
from configs.schema import EVERY
from models.data.doctor.finding import EXAMPLES, HURTS, NOTE, Finding, count, shown
from models.data.spelling import hint
from models.data.split import Benchmark, Split

UNANSWERED = "gets the gallery in the data set's order as its ranking, and counts in no score of the build"
UNLISTED = "is in no ranked list; it keeps its name and number"


def leave_out(benchmark: Benchmark, skip: Mapping[str, Sequence[str]]) -> Benchmark:
    """The lists without the images that `skip` names.

    An entry is an image's name, its path, or the end of its path (`query/0001.jpg`).

    Args:
        skip: list -> entries. Entries of `every` apply to all lists.

    Raises:
        ConfigError: an entry matches several images of one list.
    """
    lists: dict[str, Split] = {}
    used: dict[str, list[str]] = defaultdict(list)
    for part, split in benchmark.lists().items():
        entries = dict.fromkeys([*skip.get(EVERY, ()), *skip.get(part, ())])
        rows = _rows(split, part, entries) if entries else {}
        for entry in rows.values():
            used[entry].append(part)
        if rows:
            lists[part] = split.take([i for i in range(len(split)) if i not in rows])
    whole = {part: getattr(benchmark, part) for part in lists}
    found = (*benchmark.found, *_found(skip, used, benchmark, whole, lists))
    return replace(benchmark, **lists, whole=whole, found=found)  # type: ignore[arg-type]


def _rows(split: Split, part: str, entries: Iterable[str]) -> dict[int, str]:
    """The image of each entry: row -> entry."""
    row_of = {name: row for row, name in enumerate(split.names)}
    called: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(split.paths):
        called[path.name].append(row)
    rows: dict[int, str] = {}
    for entry in entries:
        end = "/" + entry.lstrip("/")
        of_path = [i for i in called[end.rpartition("/")[2]] if ("/" + split.paths[i].as_posix()).endswith(end)]
        meant = [row_of[entry]] if entry in row_of else of_path
        if len(meant) > 1:
            paths = ", ".join(str(split.paths[i]) for i in meant[:3])
            raise ConfigError(
                f"competition.skip: {entry!r} matches {len(meant):,} images of {part} ({paths}); give a longer path"
            )
        rows |= dict.fromkeys(meant, entry)
    return rows


def _found(
    skip: Mapping[str, Sequence[str]],
    used: Mapping[str, Sequence[str]],
    benchmark: Benchmark,
    whole: Mapping[str, Split],
    left: Mapping[str, Split],
) -> list[Finding]:
    found = []
    for part, split in left.items():
        gone = sorted({*whole[part].names} - {*split.names})
        does = f"each {({'query': UNANSWERED, 'gallery': UNLISTED}).get(part, 'is not trained on')}"
        text = f"{count(len(gone), 'image is', 'images are')} left out of {part} by competition.skip"
        found.append(Finding(HURTS if part == "query" else NOTE, text, does, shown(gone)))
    twice = [entry for entry in skip.get(EVERY, ()) if len(used[entry]) > 1]
    if twice:
        text = f"{count(len(twice), 'entry', 'entries')} of a plain competition.skip match images in several lists"
        told = [f"{entry}: {', '.join(used[entry])}" for entry in twice]
        found.append(Finding(HURTS, text, "to leave an image out of one list, write skip: {train: [...]}", shown(told)))
    for part, entries in skip.items():
        idle = [e for e in entries if not used[e] or (part != EVERY and part not in used[e])]
        if idle:
            names = {name for split in benchmark.lists().values() for name in split.names}
            other = ", but another list has it" if names & {*idle} else ""
            text = f"{count(len(idle), 'entry', 'entries')} of competition.skip for {part} without an image{other}"
            told = [entry + hint(entry, names) for entry in idle[:EXAMPLES]]
            found.append(Finding(HURTS, text, "it leaves nothing out", shown(told)))
    return found
