"""A part's lists of units, written out as lists of images by hand."""

import numpy as np

from ensemble.fusion.partitions import Partition
from ensemble.tune.fast_scorer import unroll
from tests.features import unit_rows

QUERIES, GALLERY = 3, 20


def test_tracks_are_written_out_and_the_nearest_others_follow():
    rng = np.random.default_rng(0)
    feats = [unit_rows(rng, QUERIES + GALLERY, d) for d in (8, 5)]
    own = [[4, 1], [7], [9, 10, 2]]
    part = Partition("a", np.array([0, 2]), tuple(map(np.array, own)))
    others = [g for g in range(GALLERY) if not any(g in unit for unit in own)]
    dist = sum(1 - a[:QUERIES].astype(float) @ a[QUERIES:].T for a in feats)
    order = np.array([[2, 0, 1], [1, 2, 0]], np.int32)
    got = unroll(feats, part, QUERIES, 13)(order)
    for row, q, units in zip(got, part.query, order, strict=True):
        after = sorted(others, key=lambda g, q=q: dist[q, g])[: 13 - 6]
        assert row.tolist() == [g for u in units for g in own[u]] + after


def test_lists_that_are_not_of_all_units_are_cut_to_as_many_images():
    feats = [unit_rows(np.random.default_rng(1), 2 + 6, 4)]
    part = Partition("a", np.array([0, 1]), (np.array([0, 1, 2]), np.array([3]), np.array([4, 5])))
    got = unroll(feats, part, 2, 2)(np.array([[2, 0], [1, 2]], np.int32))
    assert got.tolist() == [[4, 5], [3, 4]]
