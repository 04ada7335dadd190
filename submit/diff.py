"""Compare two submission files: `python -m submit.diff A B`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from configs.console.command import CommandLine, at_least, run
from configs.console.quoting import visible
from configs.errors import SubmissionError
from submit.formats import FORMATS, format_of
from submit.formats.base import Format
from submit.submission import SubmissionRules, add_arguments, open_rules, read_file

WHAT = "Compare two submission files: first images, lists, images in common. With --data, also which answers are right."
EXAMPLE = """
  python -m submit.diff old.json new.json
  python -m submit.diff old.json new.json --competition market1501 --data DIR --show 50
"""
Lists = Mapping[str, Sequence[str]]
DEPTHS = (10, 50, 200)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.diff", WHAT, EXAMPLE)
    parser.add_argument("old", type=Path, metavar="A", help="one file")
    parser.add_argument("new", type=Path, metavar="B", help="the other")
    add_arguments(parser)
    parser.add_argument(
        "--show", type=at_least(0), default=10, metavar="N", help="changed first answers to print (default: 10)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Compare two files."""
    args = parse(argv)
    desk = open_rules(args) if args.data else None
    form = desk.form if desk else format_of(args.format or _sniffed(args.old))
    old, new = (_lists(path, form, desk) for path in (args.old, args.new))
    both = [query for query in old if query in new]
    print(f"{args.old} and {args.new}: {len(both):,} queries in both")
    for name, mine, others in ((args.old, old, new), (args.new, new, old)):
        alone = [query for query in mine if query not in others]
        if alone:
            print(f"only in {name}: {len(alone):,} queries, first {alone[0]!r}")
    if not both:
        return
    for line in compare(old, new, both):
        print(line)
    changed = [query for query in both if list(old[query][:1]) != list(new[query][:1])]
    if desk and desk.benchmark.scorable and changed:
        print(change_in_first_answers(old, new, changed, desk))
    for query in changed[: max(0, args.show)]:
        print(visible(f"  {query}: {_first(old[query])} -> {_first(new[query])}"))
    if len(changed) > args.show:
        print(f"  ... and {len(changed) - max(0, args.show):,} more (--show N prints N)")


def compare(old: Lists, new: Lists, both: Sequence[str]) -> list[str]:
    """Counts over the queries of both files, one line each."""
    total = len(both)
    same = sum(list(old[q]) == list(new[q]) for q in both)
    shuffled = sum(list(old[q]) != list(new[q]) and set(old[q]) == set(new[q]) for q in both)
    first = sum(list(old[q][:1]) != list(new[q][:1]) for q in both)
    lines = [
        f"first answer differs   {first:,} of {total:,} ({100 * first / total:.1f} %)",
        f"same list              {same:,} of {total:,}",
        f"same images reordered  {shuffled:,} of {total:,}",
    ]
    longest = max(max(len(old[q]), len(new[q])) for q in both)
    for depth in (d for d in DEPTHS if d < longest):
        lines.append(_in_common(old, new, both, depth))
    return [*lines, _in_common(old, new, both, longest)]


def _in_common(old: Lists, new: Lists, both: Sequence[str], depth: int) -> str:
    shares = [
        len({*old[q][:depth]} & {*new[q][:depth]}) / max(1, len({*old[q][:depth]} | {*new[q][:depth]})) for q in both
    ]
    return f"{f'images shared in {depth}':<22} {100 * sum(shares) / len(shares):.1f} % of those in either"


def change_in_first_answers(old: Lists, new: Lists, changed: Sequence[str], desk: SubmissionRules) -> str:
    """How many changed first answers became right, became wrong, or stayed right or wrong."""
    query, gallery = desk.benchmark.query, desk.benchmark.gallery
    pid_of = dict(zip(desk.kept.query, query.pids.tolist(), strict=True))
    found = dict(zip(desk.kept.gallery, gallery.pids.tolist(), strict=True))

    def right(lists: Lists, q: str) -> bool:
        return bool(lists[q]) and found.get(lists[q][0]) == pid_of.get(q)

    counts = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for q in changed:
        counts[right(old, q), right(new, q)] += 1
    return (
        f"of these               {counts[False, True]:,} became right, {counts[True, False]:,} became wrong, "
        f"{counts[True, True]:,} stay right, {counts[False, False]:,} stay wrong"
    )


def _lists(path: Path, form: Format, desk: SubmissionRules | None) -> dict[str, Sequence[str]]:
    """A file's lists, checked if there is a data set.

    Raises:
        SubmissionError: it has another format, or is not valid.
    """
    sheet = form.read(read_file(path))
    faults = desk.faults(sheet) if desk else sheet.faults
    if faults:
        raise SubmissionError(f"{path}, {faults[0]} ({len(faults):,} in all; python -m submit.check lists them)")
    lists = dict(zip(sheet.answers.queries, sheet.answers.lists, strict=True))
    if len(lists) < len(sheet.answers.queries):
        raise SubmissionError(f"{path}: a query occurs twice; python -m submit.check names it")
    return lists


def _sniffed(path: Path) -> str:
    """The name of the only format that can read lists from the file."""
    content = read_file(path)
    sheets = {name: form.read(content) for name, form in FORMATS.items()}
    able = [name for name, sheet in sheets.items() if not sheet.faults and any(sheet.answers.lists)]
    if len(able) == 1:
        return able[0]
    raise SubmissionError(
        f"{path}: {'no format of lists reads it' if not able else f'could be {able}'}; name one with --format"
    )


def _first(names: Sequence[str]) -> str:
    return names[0] if names else "nothing"


if __name__ == "__main__":
    run(main)
