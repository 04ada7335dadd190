"""Score submission files against labels: `python -m submit.score FILE --competition NAME --data DIR`."""

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
from ensemble.metrics.competition_score import cameras, data_digest, describe, junk_of, total_per_query
from ensemble.metrics.retrieval_metrics import AP_RULES, Score
from submit.faults import counts_from
from submit.formats import LABEL_FORMATS
from submit.label_submission import score_command
from submit.submission import (
    CheckedSubmission,
    SubmissionRules,
    add_arguments,
    check_file,
    format_asked,
    open_rules,
    order_of,
    print_faults,
)

WHAT = "Score submission files by a data set's identities, with intervals. Other files are compared with the first."
EXAMPLE = """
  python -m submit.score submission.json --competition market1501 --data DIR
  python -m submit.score old.json new.json --competition market1501 --data DIR
"""
SUSPICIOUS = 0.05  # a note is printed if the total rises by so much when every number is shifted by one


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m submit.score", WHAT, EXAMPLE)
    parser.add_argument("files", type=Path, metavar="FILE", nargs="+", help="a submission file")
    add_arguments(parser)
    parser.add_argument("--ap", choices=AP_RULES, help="instead of the competition's rule")
    parser.add_argument("--by-person", action="store_true", help="intervals over persons, not over single queries")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Score the files; returns 1 if one is not valid."""
    args = parse(argv)
    if (name := format_asked(args)) in LABEL_FORMATS:
        return score_command(args, name)
    desk = open_rules(args)
    if not desk.form.scored:
        raise ConfigError("a format without lists cannot be scored by ranks; name another with --format")
    if not desk.benchmark.scorable:
        raise DataError(f"{desk.benchmark.root}: query or gallery has no identities, so there is nothing to score")
    if args.ap == "market" and desk.length < desk.full:
        raise ConfigError(
            f"--ap market needs full lists of {len(desk.benchmark.gallery):,} images; these lists have "
            f"{desk.length:,}. Use --ap relevant for cut lists, or --set competition.top_k=N for longer lists"
        )
    handed = [check_file(path, desk) for path in args.files]
    for one in handed:
        if one.faults or one.notes:
            print_faults(one, desk)
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


def score_file(handed: CheckedSubmission, desk: SubmissionRules, ap: str | None = None) -> Score:
    """Score a valid file by the competition's rules."""
    return score_order(order_of(handed, desk), desk, ap)


def score_order(order: ArrayLike, desk: SubmissionRules, ap: str | None) -> Score:
    """Score lists (Q, K) of gallery indices.

    `market` needs full lists. For cut lists, `relevant` is used instead, and the signature says so.
    """
    rules = desk.competition
    query = desk.benchmark.query
    gallery = desk.benchmark.gallery
    rule = ap or rules.ap
    if rule == "market" and desk.length < desk.full:
        rule = "relevant"
    cams = cameras(query.camids, gallery.camids)
    return retrieval_metrics.evaluate(
        np.asarray(order),
        query.pids,
        gallery.pids,
        *(cams or (None, None)),
        ap=rule,
        junk=junk_of(rules, cams),
        left_out=desk.left_out,
        top_k=None if rule == "market" else desk.length,
        weights=(rules.score.rank1, rules.score.map),
        extra={
            "data": data_digest(query.pids, query.camids, gallery.pids, gallery.camids, *desk.left_out_ids),
            "members": "file",
        },
    )


def misplaced(handed: CheckedSubmission, desk: SubmissionRules, score: Score, ap: str | None) -> list[str]:
    """Notes if the score rises clearly when every number is shifted by one."""
    if desk.left_out is not None and desk.length == desk.full:  # a shifted list would lack images
        return []
    if counts_from(desk.tokens.gallery) is None or len(desk.kept.gallery) < len(desk.tokens.gallery):
        return []
    order = np.asarray(order_of(handed, desk))
    notes = []
    for shift, word in ((-1, "lower"), (1, "higher")):
        moved = score_order(np.where(order < 0, -1, (order + shift) % len(desk.tokens.gallery)), desk, ap)
        if moved.total > score.total + SUSPICIOUS:
            notes.append(
                f"with every number one {word} it would score {100 * moved.total:.1f}, not {100 * score.total:.1f}: "
                "its numbers probably start at another value"
            )
    return notes


def show(
    console: Console,
    names: Sequence[str],
    scores: Sequence[Score],
    desk: SubmissionRules,
    groups: NDArray[np.int64] | None,
) -> None:
    """Print one row per file with the interval of its total, then each file's gain over the first."""
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
        console.print("note: lists are cut, so this mAP is at most that of full lists ('market')", soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    for name, score in zip(names[1:], scores[1:], strict=True):
        gain = bootstrap.difference(
            total_per_query(score, desk.competition), total_per_query(scores[0], desk.competition), groups=groups
        )
        verdict = "more than chance" if gain.beyond_zero else "could be chance"
        said = (
            f"{name} against {names[0]}: total {100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        )
        console.print(f"{said}; {verdict}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    run(main)
