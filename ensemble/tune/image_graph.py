"""The images that tuning finds neighbours among: all rows, or each image once where queries are gallery images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.kernels.left_out import LeftOut
from ensemble.neighbours.similarity import MemberFeatures
from ensemble.neighbours.union_search import source_of


@dataclass(frozen=True)
class ImageGraph:
    """The images of a search.

    Attributes:
        source: their features.
        place: (N,) image of each row; None if each row is an image.
        asked: number of the first images, which are no gallery images; None if there are none.
        listed: whether candidates give the lists of all queries.
        rows: the rows of the images; None: all.
    """

    source: MemberFeatures
    place: NDArray[np.int64] | None
    asked: int | None
    listed: bool
    rows: slice | NDArray[np.int64] | None = None

    def labels(self, groups: ArrayLike | None) -> NDArray[np.int64] | None:
        """The images' groups, from those of all rows."""
        labels = None if groups is None else np.asarray(groups)
        return labels if labels is None or self.rows is None else labels[self.rows]


def graph_of(source: MemberFeatures, n_query: int, left_out: LeftOut | None) -> ImageGraph:
    """The images of N rows, queries first."""
    images = source_of(source, left_out)
    if left_out is None or images is source or not isinstance(images, MemberFeatures):
        return ImageGraph(source, None, n_query, True)
    alone = int((left_out.own < 0).sum())
    same = np.array_equal(left_out.own, np.arange(left_out.n_gallery))
    union = left_out.union(source.n)
    return ImageGraph(images, union.place, alone or None, same, union.rows)
