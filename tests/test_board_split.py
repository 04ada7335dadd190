"""Held-out splits of a shape: identities disjoint, every query answered, the board's numbers met."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import DataError
from models.data.heldout.board_split import Shape, make_board, shape_of
from models.data.split import Benchmark, Split

IDENTITIES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=8, max_size=16)


def split_of(cameras, known=True):
    """One image for each camera of each identity, shuffled; identities 0, 3, 6 ..."""
    pids = np.repeat(np.arange(len(cameras)) * 3, [len(c) for c in cameras])
    camids = np.array([c if known else -1 for cams in cameras for c in cams])
    order = np.random.default_rng(0).permutation(len(pids))
    names = tuple(f"{i:04d}.jpg" for i in range(len(pids)))
    return Split(names, tuple(map(Path, names)), pids[order], camids[order])


def nobody():
    return Split((), (), np.empty(0, np.int64), np.empty(0, np.int64))


def cut(split, rows):
    return split.take(np.flatnonzero(rows))


@given(
    IDENTITIES,
    st.builds(
        Shape,
        share=st.floats(0.2, 0.7),
        images=st.tuples(st.integers(2, 3), st.one_of(st.none(), st.integers(3, 6))),
        queries=st.one_of(st.none(), st.integers(1, 4)),
        ratio=st.one_of(st.none(), st.floats(0.05, 2)),
        distractors=st.one_of(st.none(), st.floats(0, 0.8)),
        cameras=st.booleans(),
    ),
    st.integers(0, 99),
)
def test_identities_are_disjoint_and_every_query_is_answered(cameras, shape, seed):
    split = split_of(cameras)
    try:
        board = make_board(split, shape, seed)
    except DataError:
        assume(False)
    train, query, gallery = board.train, board.query, board.gallery
    assert not set(train.pids) & (set(query.pids) | set(gallery.pids))
    assert not set(query.names) & set(gallery.names)
    for pid, camid in zip(query.pids, query.camids, strict=True):
        others = gallery.camids[gallery.pids == pid]
        assert len(others) and (not shape.cameras or set(others) - {camid})
    for pid in set(query.pids):
        n = (query.pids == pid).sum() + (gallery.pids == pid).sum()
        assert shape.images[0] <= n and (shape.images[1] is None or n <= shape.images[1])
        assert shape.queries is None or (query.pids == pid).sum() <= shape.queries
    if not shape.cameras:
        assert (np.concatenate([train.camids, query.camids, gallery.camids]) == -1).all()
    again = make_board(split, shape, seed)
    assert again.query.names == query.names and again.gallery.names == gallery.names


def test_the_share_of_strangers_is_met():
    split = split_of([[0, 1, 2, 3]] * 60)
    board = make_board(split, Shape(share=0.2, queries=1, distractors=0.5, cameras=True), 0)
    strangers = ~np.isin(board.gallery.pids, board.query.pids)
    assert len(board.query) == 12 and strangers.sum() == 36 == (~strangers).sum()
    assert len(set(board.train.pids)) == 60 - 12 - 9


def test_the_ratio_is_reached_by_strangers():
    board = make_board(split_of([[0, 1, 2, 3]] * 60), Shape(share=0.2, queries=2, ratio=0.5, cameras=False), 0)
    assert len(board.query) == 24 and len(board.gallery) == 48


def test_strangers_leave_half_of_the_identities_to_train_on():
    board = make_board(split_of([[0, 1]] * 60), Shape(share=0.2, ratio=0.01), 0)
    assert len(set(board.train.pids)) == 30


def test_another_seed_asks_for_others():
    split = split_of([[0, 1, 2]] * 30)
    one, other = (set(make_board(split, Shape(cameras=True), seed).query.pids) for seed in (0, 1))
    assert len(one) == len(other) == 6 and one != other


def test_the_shape_of_a_board_with_labels():
    train = split_of([[0, 1]] * 10)
    test = split_of([[0, 1, 2, 3]] * 6)
    query = cut(test, (test.camids == 0) & (test.pids < 9))
    gallery = cut(test, test.camids > 0)
    shape = shape_of(Benchmark("x", Path(), train, query, gallery, nobody()), 0.3)
    assert shape == Shape(0.3, (2, 4), 1, 3 / 18, 0.5, True)


def test_the_shape_of_a_board_without_labels_is_its_ratio():
    train, test = split_of([[0, 1]] * 10), split_of([[0, 1, 2, 3]] * 6, known=False)
    unknown = Split(test.names, test.paths, np.full(24, -1), test.camids)
    shape = shape_of(Benchmark("x", Path(), train, unknown.take([0, 1]), unknown.take([2, 3, 4, 5]), nobody()))
    assert shape == Shape(0.2, (2, None), None, 0.5, None, False)
    assert shape_of(Benchmark("x", Path(), train, nobody(), nobody(), nobody())) == Shape(0.2, cameras=True)


@pytest.mark.parametrize(
    ("cameras", "shape", "words"),
    [
        ([[0, 1]] * 4, Shape(share=0.1), "0.1 of 4 identities"),
        ([[0, 0]] * 20, Shape(cameras=True), "0 identities with at least 2 images by two cameras"),
        ([[0, 1]] * 20, Shape(images=(5, None)), "0 identities with at least 5 images"),
        ([[0, 1]] * 5, Shape(share=0.9), "leaves 1 for training"),
    ],
)
def test_too_few_to_split(cameras, shape, words):
    with pytest.raises(DataError, match=words):
        make_board(split_of(cameras), shape, 0)
