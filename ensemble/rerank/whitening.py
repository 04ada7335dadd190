"""Whitened features: after it no direction of a member's features varies more than another.

PCA whitening and rows scaled to length 1 again: Jegou & Chum, Negative evidences and co-occurrences in image retrieval,
ECCV 2012, section 3. We differ: no dimension is cut off, the covariance is shrunk instead, (1 - a) C + a tr(C) / D I
(Ledoit & Wolf, JMVA 2004, with a given); a = 0 is the paper's. The mean may be that of each camera or domain.
All in float64, in blocks of a fixed size: the bits are the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.parallel import one_thread_products, over_rows, spans

ROWS, COLUMNS = 4096, 256  # of a block
Doubles = NDArray[np.float64]
Groups = Sequence[Hashable]  # of each image: its camera, or its domain


@dataclass(frozen=True)
class Whitener:
    """What was learned.

    Attributes:
        means: group -> (D,) of its images.
        basis: (D, R), the eigenvectors of the covariance, each over the root of its shrunk eigenvalue; R <= D.
        variances: (D,) the eigenvalues before they were shrunk, the largest first.
    """

    means: dict[Hashable, Doubles]
    basis: Doubles
    variances: Doubles

    def apply(self, feats: NDArray, groups: Groups | None = None, n_jobs: int = -1) -> NDArray[np.float32]:
        """Whitened features: (N, R) unit rows.

        Args:
            feats: (N, D). groups: of each image, where means were learned by group.

        Raises:
            ValueError: another D, a group whose mean was not learned, or a row that lies on its mean.
        """
        means, which = _matched(self.means, groups, feats)
        pieces = spans(len(feats), ROWS)

        def work(part: slice) -> NDArray[np.float32]:
            rows = pieces[part.start]
            out = _centred(feats, means, which, rows) @ self.basis
            length = np.linalg.norm(out, axis=1, keepdims=True)
            if not (length > 1e-6 * np.sqrt(self.basis.shape[1])).all():  # what varies as the rest does is 1 of these
                raise ValueError(
                    f"image {rows.start + int(np.argmin(length))} lies on its mean, so nothing is left of it: a group "
                    "of one image, or of equal ones, cannot be centred by itself"
                )
            return (out / length).astype(np.float32)

        with one_thread_products():
            return np.concatenate(over_rows(work, len(pieces), n_jobs, most=1))

    @property
    def effective_dimension(self) -> float:
        """(sum of variances)^2 over the sum of their squares: D where all are equal, 1 where one is everything."""
        return float(self.variances.sum() ** 2 / (self.variances**2).sum())

    def describe(self) -> str:
        """`512 dimensions, 41.3 effective, half of the variance in 12`."""
        half = 1 + int(np.searchsorted(np.cumsum(self.variances), self.variances.sum() / 2))
        return (
            f"{len(self.variances):,} dimensions, {self.effective_dimension:,.1f} effective, half of the variance in "
            f"{half:,}"
        )


def learn(feats: NDArray, groups: Groups | None = None, *, shrinkage: float = 0.5, n_jobs: int = -1) -> Whitener:
    """Learn the whitening of some images.

    Args:
        feats: (N, D), one member's. groups: of each image; None takes one mean of all.
        shrinkage: share of the mean variance in each direction, 0 to 1. With 0 directions without variance are left
            out, so N < D works with any.

    Raises:
        ValueError: shrinkage out of range, or features that do not vary.
    """
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}: want 0 to 1")
    n, dim = feats.shape
    names = list(dict.fromkeys([None] * n if groups is None else groups))
    which = np.zeros(n, np.intp) if groups is None else _places(names, groups)
    sums = np.zeros((len(names), dim))
    for rows in spans(n, ROWS):
        block = np.asarray(feats[rows], np.float64)
        for group in np.unique(which[rows]):
            sums[group] += block[which[rows] == group].sum(axis=0)
    means = sums / np.bincount(which, minlength=len(names))[:, None]
    with one_thread_products():
        variances, axes = np.linalg.eigh(_covariance(feats, means, which, n_jobs))
    variances, axes = np.maximum(variances[::-1], 0), axes[:, ::-1]
    if not variances[0] > n * dim * np.finfo(np.float64).eps ** 2:
        raise ValueError(f"the features of {n:,} images do not vary about their mean: there is nothing to whiten")
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    kept = shrunk > variances[0] * max(n, dim) * np.finfo(np.float64).eps
    return Whitener(dict(zip(names, means, strict=True)), axes[:, kept] / np.sqrt(shrunk[kept]), variances)


def _covariance(feats: NDArray, means: Doubles, which: NDArray[np.intp], n_jobs: int) -> Doubles:
    """(D, D), of the features about the means of their groups."""
    pieces = spans(feats.shape[1], COLUMNS)

    def work(part: slice) -> Doubles:
        columns = pieces[part.start]
        out = np.zeros((feats.shape[1], columns.stop - columns.start))
        for rows in spans(len(feats), ROWS):
            block = _centred(feats, means, which, rows)
            out += block.T @ block[:, columns]
        return out

    return np.concatenate(over_rows(work, len(pieces), n_jobs, most=1), axis=1) / len(feats)


def _centred(feats: NDArray, means: Doubles, which: NDArray[np.intp], rows: slice) -> Doubles:
    return np.asarray(feats[rows], np.float64) - means[which[rows]]


def _matched(
    learned: dict[Hashable, Doubles], groups: Groups | None, feats: NDArray
) -> tuple[Doubles, NDArray[np.intp]]:
    """The means as rows, and which of them each image has."""
    means, names = np.array(list(learned.values())), list(learned)
    if feats.shape[1] != means.shape[1]:
        raise ValueError(f"features have {feats.shape[1]} dimensions, and {means.shape[1]} were learned")
    if groups is None and names != [None]:
        raise ValueError(f"means were learned of {len(names)} groups: give the group of each image")
    wanted = [None] * len(feats) if groups is None else groups
    unknown = next((name for name in wanted if name not in learned), None)
    if unknown is not None:
        raise ValueError(f"no image of group {unknown!r} was learned from; known: {', '.join(map(str, names[:9]))}")
    return means, _places(names, wanted)


def _places(names: Sequence[Hashable], groups: Groups) -> NDArray[np.intp]:
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[group] for group in groups], np.intp)
