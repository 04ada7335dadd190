"""Curves as SVG with the page's colours, for light and dark mode."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Drawing
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from submit.report.member_training import Epoch, Trained
from submit.report.query_results import BINS, QueryResults
from submit.report.report_input import ReportedEvaluation

WIDE, TALL = 4.6, 2.9  # inches of 72 user units
DENSE = 1500  # queries above which points become a density
INK = "#010101"
SOFT = "#010102"
RULE = "#010103"
RIGHT = "#010104"
WRONG = "#010105"
MEMBERS = tuple(f"#0102{i:02d}" for i in range(8))
PAINT = {INK: "--ink", SOFT: "--soft", RULE: "--rule", RIGHT: "--right", WRONG: "--wrong"}
PAINT |= {colour: f"--m{i}" for i, colour in enumerate(MEMBERS)}
DASHES = ("-", (0, (5, 2)), (0, (2, 1.4)), (0, (7, 2, 2, 2)), "-", (0, (5, 2)), (0, (2, 1.4)), (0, (7, 2, 2, 2)))
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.5,
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
}


@dataclass(frozen=True)
class Figure:
    """One drawing. caption: one sentence that explains it."""

    title: str
    caption: str
    svg: Markup


def figures(
    trial: ReportedEvaluation, found: QueryResults, trained: Sequence[Trained], cmc: NDArray | None
) -> list[Figure]:
    """All curves that have data. cmc: (S, R), see `cmc_curves`."""
    drawn = []
    if cmc is not None:
        drawn.append(_cmc(trial, cmc))
    if trial.labelled and trial.before != trial.after:
        drawn.append(_ap(found, trial))
    if trial.labelled:
        for which, name in enumerate(("before re-ranking", "after re-ranking")):
            if found.histogram[which].sum():
                said = name if trial.before != trial.after else "of the last system"
                drawn.append(_distances(found, which, said, trial.name))
    if any(t.epochs for t in trained):
        drawn += [_epochs(trained, *what) for what in _epoch_curves(trained)]
    return drawn


def _epoch_curves(trained: Sequence[Trained]) -> list[tuple[str, Callable[[Epoch], float], str, str, bool]]:
    """Name, value, title, caption and whether the axis is logarithmic, for each curve by epoch."""
    terms = dict.fromkeys(name for t in trained for e in t.epochs for name in e.terms)
    curves = [("loss", lambda e: e.loss, "Loss by epoch", "weighted sum of the losses, mean over images", False)]
    for name in terms:
        title = f"Loss {name} by epoch"
        curves.append((f"loss-{name}", partial(_term, name), title, "by itself, before its weight", False))
    still = "largest minus smallest cosine distance in a batch; near 0 the features do not separate persons"
    right = "per cent of augmented training images that the classifier gets right"
    return [
        *curves,
        ("spread", lambda e: e.spread, "Spread of distances by epoch", still, False),
        ("accuracy", lambda e: 100 * e.accuracy, "Accuracy by epoch", right, False),
        ("lr", lambda e: e.lr, "Learning rate by epoch", "at the end of each", True),
    ]


def _term(name: str, epoch: Epoch) -> float:
    return epoch.terms.get(name, math.nan)  # another member's recipe may have no such loss


def cmc_curves(found: QueryResults, most: int = 50) -> NDArray[np.float64] | None:
    """(S, R) share of scored queries with a right image among the first r, r = 1..R."""
    scored = np.flatnonzero(np.isfinite(found.ap[-1]) & (np.diff(found.right_ptr) > 0))
    if not len(scored):
        return None
    pointers = np.asarray(found.right_ptr)
    total = int(np.isfinite(found.ap[-1]).sum())
    curves = []
    for ranks in np.asarray(found.right_ranks):
        first = np.minimum.reduceat(ranks, pointers[scored])
        curves.append([(first <= r).sum() / total for r in range(1, most + 1)])
    return np.array(curves)


def _cmc(trial: ReportedEvaluation, curves: NDArray) -> Figure:
    def draw(axes: Axes) -> None:
        ranks = np.arange(1, curves.shape[1] + 1)
        for i, curve in enumerate(curves):
            member = i < len(trial.banks)
            colour = MEMBERS[i % 8] if member else INK if i == trial.after else SOFT
            width = 1.4 if member else 2.3
            style = DASHES[i % 8] if member else "-"
            axes.plot(ranks, 100 * curve, color=colour, lw=width, ls=style, label=trial.names[i])
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axes.minorticks_off()
        axes.set_xlabel("rank")
        axes.set_ylabel("per cent of queries")

    said = "Queries with a right image among the first; higher is better."
    return Figure("Cumulative match", said, svg_of(draw, f"cmc-{trial.name}"))


def _ap(found: QueryResults, trial: ReportedEvaluation) -> Figure:
    before, after = (100 * np.asarray(found.ap[s], np.float64) for s in (trial.before, trial.after))
    kept = np.isfinite(before) & np.isfinite(after)
    before, after = before[kept], after[kept]

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=SOFT, lw=0.8, ls=(0, (4, 3)))
        if len(before) <= DENSE:
            up = after > before
            axes.plot(before[up], after[up], "^", color=RIGHT, ms=3.4, mew=0, alpha=0.75, label=f"helped, {up.sum():,}")
            down = after < before
            axes.plot(
                before[down], after[down], "v", color=WRONG, ms=3.4, mew=0, alpha=0.75, label=f"hurt, {down.sum():,}"
            )
        else:
            counts, x, y = np.histogram2d(before, after, bins=36, range=[[0, 100], [0, 100]])
            for i, j in np.argwhere(counts):
                size = 3.0 + 4.5 * np.sqrt(counts[i, j] / counts.max())
                colour = RIGHT if j > i else WRONG if j < i else SOFT
                axes.plot((x[i] + x[i + 1]) / 2, (y[j] + y[j + 1]) / 2, "s", color=colour, ms=size, mew=0, alpha=0.7)
        axes.set_xlabel(f"AP by {trial.names[trial.before]}")
        axes.set_ylabel("AP re-ranked")

    return Figure("Re-ranking, query by query", "Above the line it helped.", svg_of(draw, f"ap-{trial.name}"))


def _distances(found: QueryResults, which: int, said: str, name: str) -> Figure:
    counts = np.asarray(found.histogram[which], np.float64)
    edges = np.linspace(0, float(found.reach[which]), BINS + 1)
    there = np.flatnonzero(counts.sum(axis=0))
    low, high = there[0], there[-1] + 1
    step = max(1, (high - low) // 60)
    starts = np.arange(low, high, step)
    share = np.stack([np.add.reduceat(c[:high], starts) / max(1, c.sum()) for c in counts])

    def draw(axes: Axes) -> None:
        x = edges[starts]
        for kind, colour, word, style in ((0, WRONG, "wrong pairs", (0, (5, 2))), (1, RIGHT, "right pairs", "-")):
            axes.fill_between(x, 100 * share[kind], step="post", color=colour, alpha=0.18, lw=0)
            axes.step(x, 100 * share[kind], where="post", color=colour, lw=1.5, ls=style, label=word)
        axes.set_xlabel("distance")
        axes.set_ylabel("per cent of pairs")
        axes.set_ylim(bottom=0)

    why = "The less the two overlap, the better."
    return Figure(f"Distances {said}", why, svg_of(draw, f"dist-{name}-{which}"))


def _epochs(
    trained: Sequence[Trained], name: str, value: Callable[[Epoch], float], title: str, why: str, log: bool
) -> Figure:
    def draw(axes: Axes) -> None:
        for i, t in enumerate(trained):
            values = [value(e) for e in t.epochs]
            axes.plot([e.epoch for e in t.epochs], values, color=MEMBERS[i % 8], ls=DASHES[i % 8], label=t.member)
        if log:
            axes.set_yscale("log")
            axes.minorticks_off()
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch")

    return Figure(title, why, svg_of(draw, f"epochs-{name}"))


def svg_of(draw: Any, salt: str) -> Markup:
    """The drawing of `draw(axes)` as inline SVG; the same drawing gives the same bytes.

    matplotlib's style sheet is removed, since it would affect the whole page. Colours are replaced by the page's.
    """
    with context({"svg.hashsalt": salt, **STYLE}, after_reset=True):
        drawing = Drawing(figsize=(WIDE, TALL), layout="constrained")
        axes = drawing.add_subplot()
        draw(axes)
        if axes.get_legend_handles_labels()[1]:
            how: dict[str, Any] = {"fontsize": 9.5, "handlelength": 2, "columnspacing": 1.1, "borderpad": 0}
            drawing.legend(loc="outside upper left", ncols=4, **how)
        file = io.BytesIO()
        FigureCanvasSVG(drawing).print_svg(file, metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = file.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img" aria-hidden="true"', text, count=1)
    text = re.sub(r"#[0-9a-f]{6}", lambda m: f"var({PAINT[m[0]]})" if m[0] in PAINT else m[0], text)
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", text)
    return Markup(re.sub(r'\bid="(?!\w*[pm]\w{10})[^"]*"', "", text))
