"""Similarities as evidence: each member's are mapped to log-odds of "same identity", and the log-odds are summed.

A map is learned on labelled pairs and never decreases, so it can tie two pairs of one member but not swap them.

- `logistic`: a line, Platt (Probabilistic Outputs for Support Vector Machines, 1999). A sum of lines is a weighted sum
  of similarities: the slopes are learned weights.
- `isotonic`: steps, by pool-adjacent-violators (Ayer et al. 1955). Only the order of a member's similarities counts.

Both are fitted to Platt's targets, (n_same + 1) / (n_same + 2) and 1 / (n_different + 2), so log-odds are finite.
The members are not independent, so the sum of their log-odds is too sure of itself. A last logistic map of the sum
corrects that, and does not change the order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import ResultError
from configs.store.atomic_files import write_text

Doubles = NDArray[np.float64]
NAMES = ("isotonic", "logistic")


@dataclass(frozen=True)
class Line:
    """Log-odds slope * similarity + intercept; slope >= 0."""

    slope: float
    intercept: float

    def __call__(self, sims: ArrayLike) -> Doubles:
        """The log-odds of similarities."""
        return self.slope * np.asarray(sims, np.float64) + self.intercept


@dataclass(frozen=True)
class Steps:
    """Log-odds that are constant from each of the ascending `starts` to the next; below the first as from it."""

    starts: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, sims: ArrayLike) -> Doubles:
        """The log-odds of similarities."""
        step = np.searchsorted(self.starts, np.asarray(sims, np.float64), side="right") - 1
        out: Doubles = np.array(self.values)[np.maximum(step, 0)]
        return out


@dataclass(frozen=True)
class Calibration:
    """What was learned on labelled pairs.

    Attributes:
        curves: of each member.
        weights: of the members, with which `total` was fitted.
        total: the map of the summed log-odds.
        pairs, same: how many pairs it was learned on, and how many of them showed one identity.
    """

    curves: tuple[Line | Steps, ...]
    weights: tuple[float, ...]
    total: Line
    pairs: int
    same: int

    def log_odds(self, sims: ArrayLike, weights: Sequence[float] | None = None) -> Doubles:
        """(n,) log-odds that a pair shows one identity, of (M, n) similarities; weights: None are those of the fit."""
        return self.total(_summed(self.curves, sims, self.weights if weights is None else weights))

    def probability(self, sims: ArrayLike) -> Doubles:
        """(n,) probability that a pair shows one identity, where pairs are as frequent as where it was learned."""
        return np.exp(-np.logaddexp(0, -self.log_odds(sims)))


def fit(
    sims: ArrayLike, same: ArrayLike, *, name: str = "isotonic", weights: Sequence[float] | None = None
) -> Calibration:
    """Learn the maps on labelled pairs, which no member should have been trained on.

    Args:
        sims: (M, n) similarities of n pairs by M members, larger is more alike; any scale.
        same: (n,) whether a pair shows one identity.
        name: isotonic or logistic.
        weights: (M,) of the members' log-odds in the sum, >= 0; None is 1 each.

    Raises:
        ValueError: invalid arguments, or only one kind of pairs.
    """
    if name not in NAMES:
        raise ValueError(f"unknown calibration {name!r}; there are {', '.join(NAMES)}")
    x, y = np.asarray(sims, np.float64), np.asarray(same, bool)
    if x.ndim != 2 or y.shape != x.shape[1:] or not np.isfinite(x).all():
        raise ValueError(f"similarities {x.shape}, labels {y.shape}: want finite (M, n) and (n,)")
    if y.all() or not y.any():
        kind = "shows one identity" if len(y) and y.all() else "shows two identities"
        raise ValueError(f"each of {len(y):,} labelled pairs {kind}: a calibration is learned on pairs of both kinds")
    w = (1.0,) * len(x) if weights is None else tuple(float(one) for one in weights)
    if len(w) != len(x) or not all(0 <= one < np.inf for one in w):
        raise ValueError(f"weights {w} of {len(x)} members: want one each, >= 0")
    learn = _steps if name == "isotonic" else _line
    curves = tuple(learn(row, y) for row in x)
    return Calibration(curves, w, _line(_summed(curves, x, w), y), len(y), int(y.sum()))


def _summed(curves: Sequence[Line | Steps], sims: ArrayLike, weights: Sequence[float]) -> Doubles:
    rows = np.asarray(sims)
    out = np.zeros(rows.shape[1:])
    for curve, row, weight in zip(curves, rows, weights, strict=True):
        out += weight * curve(row)
    return out


def _targets(same: NDArray[np.bool_]) -> tuple[float, float]:
    """Platt's targets: of pairs of one identity, and of two."""
    there = int(same.sum())
    return (there + 1) / (there + 2), 1 / (len(same) - there + 2)


def _steps(x: Doubles, same: NDArray[np.bool_]) -> Steps:
    from sklearn.isotonic import IsotonicRegression  # a second that other commands do not need

    found = IsotonicRegression().fit(x, np.where(same, *_targets(same)))
    rising = np.flatnonzero(np.diff(found.y_thresholds_, prepend=-1) > 0)
    p = found.y_thresholds_[rising]
    return Steps(tuple(found.X_thresholds_[rising].tolist()), tuple((np.log(p) - np.log1p(-p)).tolist()))


def _line(x: Doubles, same: NDArray[np.bool_]) -> Line:
    """A member that would need a falling line says nothing: its slope is 0."""
    from sklearn.linear_model import LogisticRegression

    prior = float(np.log(same.sum() / (~same).sum()))
    middle, spread = float(x.mean()), float(x.std())
    if spread <= 1e-12 * max(1.0, abs(middle)):
        return Line(0.0, prior)
    yes, no = _targets(same)
    share = np.where(same, yes, no)  # a pair counts with this share as one identity, with the rest as two
    both = np.concatenate([x, x])[:, None]
    found = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(
        (both - middle) / spread,
        np.repeat([1, 0], len(x)),
        sample_weight=np.concatenate([share, 1 - share]),
    )
    slope = float(found.coef_[0, 0]) / spread
    return Line(slope, float(found.intercept_[0]) - slope * middle) if slope > 0 else Line(0.0, prior)


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """For JSON."""
    return asdict(calibration)


def from_dict(raw: Mapping[str, Any]) -> Calibration:
    """Back from JSON."""
    curves = tuple(
        Steps(tuple(one["starts"]), tuple(one["values"])) if "starts" in one else Line(**one) for one in raw["curves"]
    )
    return Calibration(curves, tuple(raw["weights"]), Line(**raw["total"]), int(raw["pairs"]), int(raw["same"]))


def save(path: Path | str, calibration: Calibration) -> None:
    """Write a calibration as JSON; every number is read back as it was."""
    write_text(Path(path), json.dumps(as_dict(calibration)) + "\n")


def load(path: Path | str) -> Calibration:
    """Read a calibration.

    Raises:
        ResultError: no such file, or not a calibration.
    """
    try:
        return from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise ResultError(f"{path}: no calibration ({e}); give a file that calibration.save wrote") from e
