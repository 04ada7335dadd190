"""Print a tuning result: the gain of each kind of choice, the choices, and the options to build with."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from configs.console.tables import plain_table
from configs.schema import EACH_FIRST
from ensemble.fusion.partitions import ALL
from ensemble.metrics.competition_score import describe
from ensemble.results.open_evaluation import HOLDOUT, TEST, TRAIN, OpenEvaluation

USUAL = "k_reciprocal"  # its name is not printed
HALVES = ("one half", "other half", "everybody")


def show(console: Console, case: OpenEvaluation, found: Mapping[str, Any]) -> None:
    """Print everything that `ensemble.tune` found, per problem; then the options to build with."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    if case.folds:
        say(_drawn(found["folds"]))
    for one in found["problems"]:
        _show_one(console, say, case, one)
    for name, why in found["kept"].items():
        say(f"{name}: keeps equal weights and the default settings: {why}")
    for line in _together(found["together"]) if found["together"] else ():
        say(line)
    if found.get("elsewhere"):
        for line in _elsewhere(found["elsewhere"]):
            say(line)
    if any("whiten" in one["mix"] for one in found["problems"]):
        say("note: features are to be whitened by query and gallery, which some competitions forbid")
    if any(rung["taken"] for one in found["problems"] for rung in one["rungs"]):
        say("build with:  " + shlex.join(part for change in found["sets"] for part in ("--set", change)))
    else:
        say("nothing was taken, so there is nothing to set: these persons do not tell the settings apart")
    if case.name == TRAIN:
        say("chosen on training identities, each by members that were not trained on it; no test image was looked at")
    if case.name == HOLDOUT:
        say("chosen on training identities that were held out: no member was trained on them")
    if case.name == TEST:
        say("note: these are the test identities: a build so set looks too good on them, the cross-fitted total not")


def _show_one(console: Console, say: Callable[[str], None], case: OpenEvaluation, found: Mapping[str, Any]) -> None:
    where = "" if found["name"] == ALL else f", domain {found['name']}: {found['gallery']:,} to find"
    say(
        f"{case.name}{where}: {found['queries']:,} queries of {found['persons']:,} persons; "
        f"{describe(found['signature'])}; chosen on half of the persons, scored on the other (seed {found['seed']})"
    )
    console.print()
    console.print(_worth(found))
    console.print()
    console.print(_choices(found))
    console.print()
    say(
        f"{found['tried']:,} settings tried, {found['a_minute']:,.0f} a minute, on lists of {found['depth']:,} among "
        "candidates; totals above are of whole searches"
    )
    for line in _verdict(found):
        say(line)
    if found["calibrated"]:
        console.print()
        console.print(_calibrated(found["calibrated"]))
        for line in _calibrated_verdict(found["calibrated"], case.name):
            say(line)
    console.print()


def _drawn(folds: Sequence[Mapping[str, Any]]) -> str:
    """Sizes of the boards of the folds."""
    queries, gallery = (sum(fold[key] for fold in folds) for key in ("queries", "gallery"))
    sizes = ", ".join(f"{fold['queries']:,} x {fold['gallery']:,}" for fold in folds)
    images = ", ".join("none" if fold["images"] is None else f"{fold['images']:g}" for fold in folds)
    strangers = ", ".join(f"{100 * fold['distractors']:.0f} %" for fold in folds)
    return (
        f"{len(folds)} folds of the training identities, each a board of its own, shaped like the test: {queries:,} "
        f"queries x {gallery:,} gallery images in all ({sizes}); median images per person {images}; distractors "
        f"{strangers}. Images of different folds are not compared; scores are means over all queries"
    )


def _elsewhere(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The gains on the test from choices made on the folds."""
    base = next(iter(found.values()))["base"]
    yield f"on the test, which had no part in any choice: {100 * base:.1f} with equal weights and default settings"
    for name, one in found.items():
        low, mean, high, level = (100 * one["gain"][key] for key in ("low", "mean", "high", "level"))
        total = 100 * one["total"]
        yield f"  {name} that everybody chose: {total:.1f}: {mean:+.1f} ({low:+.1f} to {high:+.1f}, {level:g} %)"


def _together(whole: Mapping[str, Any]) -> list[str]:
    """The total over all queries, each searched in its own domain."""
    gain = whole["gain"]
    low, high = 100 * gain["low"], 100 * gain["high"]
    return [
        f"all queries together: {100 * whole['base']:.1f} with equal weights and default settings, "
        f"{100 * whole['total']:.1f} with what was taken, cross-fitted: {100 * gain['mean']:+.1f} "
        f"({low:+.1f} to {high:+.1f}, {100 * gain['level']:g} %)"
    ]


def _worth(found: Mapping[str, Any]) -> Table:
    """A row per tuning step: cross-fitted total, gain, and the gain on the half where it was chosen."""
    level = found["rungs"][0]["gain"]["level"]
    columns = ("total", "gain", f"{100 * level:g} % of the time", "over", "where chosen", "optimism", "")
    table = plain_table([""], columns)
    built, base = found["built"], found["base"]
    if built["total"] is not None and {k: built[k] for k in built if k != "total"} != {
        k: base[k] for k in base if k != "total"
    }:
        table.add_row("as built", f"{100 * built['total']:.1f}", *[""] * 6)
    table.add_row("equal weights, default settings", f"{100 * base['total']:.1f}", *[""] * 6)
    for rung in found["rungs"]:
        gain, verdict = rung["gain"], "taken" if rung["taken"] else "not taken"
        cells = [f"{100 * rung['total']:.1f}", f"{100 * gain['mean']:+.1f}"]
        cells += [f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}", rung["over"]]
        cells += [f"{100 * rung['apparent']:+.1f}", f"{100 * rung['optimism']:.1f}", verdict]
        table.add_row(rung["name"] + ", cross-fitted", *cells)
    return table


def _calibrated(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row a calibration against the plain sum at equal weights."""
    level = f"{100 * rows[0]['gain']['level']:g} % of the time"
    columns = ("sum", "each first", "total", "gain", level, "where learned", "")
    table = plain_table(["calibrated on the other half", "re-ranking"], columns)
    for row in rows:
        gain, verdict = row["gain"], "more than chance" if row["taken"] else "could be chance"
        cells = ["" if row[key] is None else f"{100 * row[key]:.1f}" for key in ("sum", "each", "total")]
        cells += [f"{100 * gain['mean']:+.1f}"]
        cells += [f"{100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}", f"{100 * row['looked_at']:.1f}", verdict]
        table.add_row(row["name"], row["rerank"].partition("(")[0], *cells)
    return table


def _calibrated_verdict(rows: Sequence[Mapping[str, Any]], evaluation: str) -> Iterator[str]:
    """What was learned on, and what to build with."""
    yield f"calibrations of everybody are learned on {max(row['pairs'] for row in rows):,} pairs"
    found = [row for row in rows if row["taken"]]
    if found:
        best = max(found, key=lambda row: row["total"])
        rerank = ["--set", "ensemble.rerank=none"] if best["rerank"] == "none" else []
        sets = [*rerank, "--set", "ensemble.fusion=calibrated", "--set", f"ensemble.calibration={best['name']}"]
        more = {TRAIN: "and --folds as before", HOLDOUT: "and --holdout as before"}
        yield f"calibrated:  {shlex.join(sets)}  {more.get(evaluation, 'and --folds 5, or --holdout 0.2, to learn on')}"


def _choices(found: Mapping[str, Any]) -> Table:
    """The choices on each half and on all persons."""
    table = plain_table(["chosen", "on", "re-ranking", *found["members"]])
    for rung in found["rungs"]:
        for half, mix in zip(HALVES, rung["chosen"], strict=True):
            table.add_row(rung["name"], half, how(mix), *(f"{w:g}" for w in mix["weights"]))
    return table


def how(mix: Mapping[str, Any]) -> str:
    """The re-ranking of a mix in words."""
    numbers = ", ".join(f"{name} {value:g}" for name, value in mix["options"].items())
    usual = mix["rerank"] == USUAL and numbers
    text = numbers if usual else f"{mix['rerank']} {numbers}".strip()
    text += ", each before the sum" if mix["fusion"] == EACH_FIRST else ""
    return text + (f", whitened, shrinkage {mix['whiten']:g}" if "whiten" in mix else "")


def _verdict(found: Mapping[str, Any]) -> Sequence[str]:
    rungs, lines = found["rungs"], []
    if len(found["members"]) == 1:
        lines.append("one member: there are no weights to choose, only the settings of the re-ranking")
    for rung in rungs:
        for half, left in zip(HALVES, rung["noise"], strict=True):
            if left:
                names = ", ".join(found["members"][m] for m in left)
                lines.append(f"{names}: alone not better than chance on {half}, so left out there")
    taken = [rung for rung in rungs if rung["taken"]]
    if not taken:
        lines.append("no gain over equal weights and the default settings is more than chance")
    elif len(rungs) > 1 and not rungs[1]["taken"]:
        lines.append("settings are taken; the gain of other weights is not more than chance: equal weights stay")
    else:
        lines.append(f"{taken[-1]['name']} are taken")
    return lines
