"""Score anybody's submission file against labels: `python -m submit.score FILE --competition NAME --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Console

from configs.console.command import CommandLine, run
from configs.console.tables import plain_table
from configs.errors import ConfigError, DataError
from ensemble.metrics import bootstrap, retrieval_metrics
from ensemble.metrics.competition_score import cameras, data_digest, describe, find_themselves, total_per_query
from ensemble.metrics.retrieval_metrics import AP_RULES, Score
from models.data.itself import own_rows
from submit.faults import counts_from
from submit.submission import Desk, Handed, add_arguments, open_desk, order_of, receive, tell

WHAT = "Score submissions against the identities of a data set, with intervals. The second is compared with the first."
EXAMPLE = """
  python -m submit.score submission.json --competition market1501 --data DIR
  python -m submit.score old.json new.json --competition market1501 --data DIR
"""
SUSPICIOUS = 0.05  # a total that rises by so much when every number is moved by one


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.score", WHAT, EXAMPLE)
    parser.add_argument("files", type=Path, metavar="FILE", nargs="+", help="what is handed in")
    add_arguments(parser)
    parser.add_argument("--ap", choices=AP_RULES, help="in place of the competition's rule")
    parser.add_argument("--by-person", action="store_true", help="intervals over persons, not over single queries")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Score the files; the exit status is 1 where one of them is not valid."""
    args = parse(argv)
    desk = open_desk(args)
    if not desk.form.scored:
        raise ConfigError("a format without lists cannot be scored by ranks; --format names another")
    if not desk.benchmark.scorable:
        raise DataError(f"{desk.benchmark.root}: query or gallery has no identities, so there is nothing to score")
    if args.ap == "market" and desk.length < len(desk.benchmark.gallery):
        raise ConfigError(
            f"--ap market is over the whole gallery of {len(desk.benchmark.gallery):,} images, and lists here hold "
            f"{desk.length:,}; --ap relevant counts what is in the lists, --set competition.top_k=N wants longer ones"
        )
    handed = [receive(path, desk) for path in args.files]
    for one in handed:
        if one.faults or one.notes:
            tell(one, desk)
    if any(one.faults for one in handed):
        return 1
    scores = [score_file(one, desk, args.ap) for one in handed]
    groups = desk.benchmark.query.pids if args.by_person else None
    show(
        Console(highlight=False, width=None if sys.stdout.isatty() else 160),
        [str(path) for path in args.files],
        scores,
        desk,
        groups,
    )
    for one, score in zip(handed, scores, strict=True):
        for note in misplaced(one, desk, score, args.ap):
            print(f"note: {one.path}: {note}")
    return 0


def score_file(handed: Handed, desk: Desk, ap: str | None = None) -> Score:
    """The score of a valid file under the competition's rules."""
    return score_order(order_of(handed, desk), desk, ap)


def score_order(order: ArrayLike, desk: Desk, ap: str | None) -> Score:
    """Lists (Q, K) of places in the gallery, scored.

    `market` is over the whole gallery: where lists are cut, `relevant` stands for it and the signature says so.
    """
    rules, query, gallery = desk.competition, desk.benchmark.query, desk.benchmark.gallery
    rule = ap or rules.ap
    if rule == "market" and desk.length < len(gallery):
        rule = "relevant"
    cams = cameras(query.camids, gallery.camids)
    return retrieval_metrics.evaluate(
        np.asarray(order),
        query.pids,
        gallery.pids,
        *(cams or (None, None)),
        ap=rule,
        junk=rules.junk if cams else "none",
        top_k=None if rule == "market" else desk.length,
        weights=(rules.score.rank1, rules.score.map),
        extra={
            "data": data_digest(query.pids, query.camids, gallery.pids, gallery.camids),
            **find_themselves(own_rows(query, gallery), cams if rules.junk != "none" else None),
            "members": "file",
        },
    )


def misplaced(handed: Handed, desk: Desk, score: Score, ap: str | None) -> list[str]:
    """A suspicion that labels allow: every number is one too high or too low."""
    if counts_from(desk.tokens.gallery) is None or len(desk.kept.gallery) < len(desk.tokens.gallery):
        return []
    order = np.asarray(order_of(handed, desk))
    notes = []
    for shift, word in ((-1, "lower"), (1, "higher")):
        moved = score_order((order + shift) % len(desk.tokens.gallery), desk, ap)
        if moved.total > score.total + SUSPICIOUS:
            notes.append(
                f"with every number one {word} it would score {100 * moved.total:.1f}, not {100 * score.total:.1f}: "
                "it was probably counted from another first number"
            )
    return notes


def show(
    console: Console, names: Sequence[str], scores: Sequence[Score], desk: Desk, groups: NDArray[np.int64] | None
) -> None:
    """A row a file, with the interval of its total; then what the others gain on the first."""
    over = "queries" if groups is None else "persons"
    table = plain_table([""], ["rank-1", "rank-5", "mAP", "total", f"95 %, over {over}"])
    for name, score in zip(names, scores, strict=True):
        spread = bootstrap.interval(total_per_query(score, desk.competition), groups=groups)
        cells = [score.rank1, score.cmc[1], score.map, score.total]
        table.add_row(name, *(f"{100 * x:.1f}" for x in cells), f"{100 * spread.low:.1f} to {100 * spread.high:.1f}")
    query, gallery = desk.benchmark.query, desk.benchmark.gallery
    sizes = f"{len(query):,} queries x {len(gallery):,} gallery images"
    console.print(f"{sizes}; {describe(scores[0].signature)}", soft_wrap=True, markup=False)
    if scores[0].ap == "relevant" and desk.competition.ap == "market":
        console.print("note: lists are cut, so this mAP is at most the whole gallery's ('market')", soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    for name, score in zip(names[1:], scores[1:], strict=True):
        gain = bootstrap.difference(
            total_per_query(score, desk.competition), total_per_query(scores[0], desk.competition), groups=groups
        )
        verdict = "more than chance" if gain.beyond_zero else "chance alone could do it"
        said = (
            f"{name} against {names[0]}: total {100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        )
        console.print(f"{said}; {verdict}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run(main)
