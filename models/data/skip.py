"""Images left out of a data set's lists, as a competition's `skip` names them; and all that there is to say of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from configs.errors import ConfigError
from configs.schema import EVERY
from models.data.doctor.finding import EXAMPLES, HURTS, NOTE, Finding, count, shown
from models.data.spelling import hint
from models.data.split import Benchmark, Split

UNANSWERED = "is answered with the gallery in the data set's own order, and counts in no score of the build"
UNLISTED = "is in no list; it keeps its name and number"


def leave_out(benchmark: Benchmark, skip: Mapping[str, Sequence[str]]) -> Benchmark:
    """The lists without the images that `skip` names.

    An entry is an image's name, or else its path or the end of its path (`query/0001.jpg`).

    Args:
        skip: list -> entries; those of `every` are looked for in all lists.

    Raises:
        ConfigError: an entry could be several images of one list.
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
    """The image that each entry means: row -> entry."""
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
                f"competition.skip: {entry!r} could be any of {len(meant):,} images of {part} ({paths}); give more of "
                "the path"
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
        text = f"{count(len(twice), 'entry', 'entries')} of a plain competition.skip meant images of several lists"
        told = [f"{entry}: {', '.join(used[entry])}" for entry in twice]
        found.append(Finding(HURTS, text, "skip: {train: [...]} leaves an image out of one list", shown(told)))
    for part, entries in skip.items():
        idle = [e for e in entries if not used[e] or (part != EVERY and part not in used[e])]
        if idle:
            names = {name for split in benchmark.lists().values() for name in split.names}
            other = ", though another list has it" if names & {*idle} else ""
            text = f"{count(len(idle), 'entry', 'entries')} of competition.skip for {part} is no image{other}"
            told = [entry + hint(entry, names) for entry in idle[:EXAMPLES]]
            found.append(Finding(HURTS, text, "nothing is left out for it", shown(told)))
    return found
