"""Files with a label an image: what they are checked against, their faults, their scores."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, DataError
from configs.schema import Competition
from ensemble.metrics.cluster_metrics import cluster_scores
from ensemble.metrics.identity_metrics import NEW, known_or_new
from ensemble.metrics.named_score import NamedScore
from models.data.split import UNKNOWN, Benchmark, own_rows
from submit.faults import Guess
from submit.formats import LABEL_FORMATS
from submit.formats.base import MAX_BYTES, Fault
from submit.formats.label_csv import NEW_INDIVIDUAL, LabelFormat, ParsedLabels
from submit.submission import open_benchmark, print_groups, read_file


@dataclass(frozen=True)
class LabelRules:
    """What such files are checked against.

    Attributes:
        images: names of all queries, those of competition.skip included; each has one row.
        identities: known identity as text -> its number; what a label may be beside `new_individual`. Empty where
            labels are clusters.
    """

    competition: Competition
    benchmark: Benchmark
    form: LabelFormat
    images: tuple[str, ...]
    identities: Mapping[str, int]

    def faults(self, sheet: ParsedLabels) -> list[Fault]:
        """All faults of a parsed file, by line."""
        faults, asked, first = list(sheet.faults), set(self.images), dict[str, int]()
        wanted = {*self.identities, NEW_INDIVIDUAL}
        guess, guess_label = Guess(self.images, asked), Guess([*self.identities, NEW_INDIVIDUAL], wanted)
        for image, label, line in zip(sheet.images, sheet.labels, sheet.lines, strict=True):
            if image not in asked:
                text = f"image {image!r} is not one of the {len(asked):,} queries{guess(image)}"
                faults.append(Fault(line, text))
                continue
            if image in first:
                faults.append(Fault(line, f"image {image!r} occurs again; its first row is line {first[image]}"))
            first.setdefault(image, line)
            if self.form.named and label.strip() and label not in wanted:
                told = f"image {image!r}: {label[:80]!r} is neither a known identity nor {NEW_INDIVIDUAL}"
                faults.append(Fault(line, told + guess_label(label)))
        if sheet.images or not sheet.faults:
            faults += [Fault(None, f"image {name!r} has no row") for name in self.images if name not in first]
        return sorted(faults, key=lambda fault: fault.line or 0)

    def numbers(self, images: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
        """(Q,) the labels of the data set's queries: identities, or NEW; or clusters, numbered."""
        of = dict(zip(images, labels, strict=True))
        said = [of[name] for name in self.benchmark.query.names]
        if self.form.named:
            return np.array([self.identities.get(label, NEW) for label in said], np.int64)
        return np.unique(said, return_inverse=True)[1].astype(np.int64)


def identities_of(benchmark: Benchmark) -> dict[str, int]:
    """Known identity as text -> number: those of gallery images that are no queries.

    Raises:
        DataError: there is none.
    """
    rows = own_rows(benchmark.query, benchmark.gallery)
    alone = np.ones(len(benchmark.gallery), bool)
    alone[rows[rows >= 0]] = False
    known = np.unique(benchmark.gallery.pids[alone & (benchmark.gallery.pids != UNKNOWN)]).tolist()
    if not known:
        raise DataError(
            f"{benchmark.root}: no gallery image with an identity is no query, so no identity is known beforehand; "
            "take the format clusters_csv"
        )
    return {benchmark.labels.get(pid, str(pid)): pid for pid in known}


def rules_of(competition: Competition, benchmark: Benchmark, form: LabelFormat) -> LabelRules:
    """The rules for a data set.

    Raises:
        DataError: as `identities_of`, if the format names identities.
    """
    images = benchmark.whole.get("query", benchmark.query).names
    return LabelRules(competition, benchmark, form, images, identities_of(benchmark) if form.named else {})


def check_labels(path: Path, rules: LabelRules) -> tuple[ParsedLabels, list[Fault]]:
    """Read a file and check it.

    Raises:
        SubmissionError: it cannot be opened.
    """
    content = read_file(path)
    if len(content) > MAX_BYTES:
        return ParsedLabels([], [], []), [Fault(None, f"more than {MAX_BYTES:,} bytes; it is not read")]
    sheet = rules.form.read(content)
    return sheet, rules.faults(sheet)


def check_command(args: argparse.Namespace, name: str) -> int:
    """`submit.check` of such a file; returns the exit status."""
    rules = _rules(args, name)
    sheet, faults = check_labels(args.file, rules)
    print_checked(args.file, rules, name, sheet, faults, None if args.all else 20)
    return 1 if faults else 0


def score_command(args: argparse.Namespace, name: str) -> int:
    """`submit.score` of such files; returns 1 if one is not valid.

    Raises:
        DataError: no query has an identity.
    """
    if args.ap:
        raise ConfigError(f"--ap is for lists; format {name!r} has a label an image")
    rules = _rules(args, name)
    if not (rules.benchmark.query.pids != UNKNOWN).any():
        raise DataError(f"{rules.benchmark.root}: no query has an identity, so there is nothing to score")
    read = [(path, *check_labels(path, rules)) for path in args.files]
    for path, sheet, faults in read:
        if faults or sheet.notes:
            print_checked(path, rules, name, sheet, faults, 20)
    if any(faults for _, _, faults in read):
        return 1
    for path, sheet, _ in read:
        print(path)
        for line in lines_of(score_labels(rules, sheet.images, sheet.labels, {"members": "file"})):
            print(line)
    return 0


def score_labels(
    rules: LabelRules, images: Sequence[str], labels: Sequence[str], extra: Mapping[str, object]
) -> list[NamedScore]:
    """The scores of a valid file: BAKS, BAUS and their mean where identities are named; else those of clusters."""
    found, pids = rules.numbers(images, labels), rules.benchmark.query.pids
    if rules.form.named:
        return known_or_new(found, pids, [*rules.identities.values()], extra=extra)
    return cluster_scores(found, pids, extra=extra)


def lines_of(scores: Sequence[NamedScore]) -> list[str]:
    """A line a score, per cent, with its interval."""
    if not scores:
        return []
    return [*(f"  {score}" for score in scores), "  per cent, 95 % over identities", f"  {scores[0].signature}"]


def print_checked(
    path: Path, rules: LabelRules, name: str, sheet: ParsedLabels, faults: Sequence[Fault], most: int | None
) -> None:
    """Print faults, notes and a summary line."""
    print_groups(path, faults, most)
    for note in sheet.notes:
        print(f"note: {note}")
    verdict = f"valid {name}" if not faults else f"not a valid {name}, {len(faults):,} fault{'s' * (len(faults) > 1)}"
    known = f", labels from {len(rules.identities):,} identities and {NEW_INDIVIDUAL}" if rules.form.named else ""
    print(f"{path}: {verdict}; {rules.competition.name} wants {len(rules.images):,} rows{known}")


def _rules(args: argparse.Namespace, name: str) -> LabelRules:
    return rules_of(*open_benchmark(args), LABEL_FORMATS[name])
