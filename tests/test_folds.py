"""Folds of identities and the lists that are drawn from one, against what they promise."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import DataError
from models.data.heldout.fold_board import BoardShape, draw_board, shape_of_lists
from models.data.heldout.folds import join_groups, split_folds

SIZES = st.lists(st.integers(1, 6), min_size=6, max_size=20)


def connected(count, pairs):
    """The smallest member of each one's group, by a search from each."""
    near = {i: {i} for i in range(count)}
    for a, b in pairs:
        near[a].add(b)
        near[b].add(a)
    least = []
    for i in range(count):
        seen, left = set(), [i]
        while left:
            one = left.pop()
            if one not in seen:
                seen.add(one)
                left += near[one]
        least.append(min(seen))
    return least


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_groups_are_those_of_a_search(case):
    count, pairs = case
    assert join_groups(count, np.array(pairs, np.int64).reshape(-1, 2)).tolist() == connected(count, pairs)


@given(SIZES, st.integers(2, 4), st.integers(0, 99), st.data())
def test_no_identity_and_no_near_duplicate_is_on_both_sides(sizes, count, seed, data):
    pids = np.repeat(np.arange(len(sizes)) * 5 + 2, sizes)
    rows = st.integers(0, len(pids) - 1)
    pairs = np.array(data.draw(st.lists(st.tuples(rows, rows), max_size=3)), np.int64).reshape(-1, 2)
    shuffled = np.random.default_rng(seed).permutation(len(pids))
    pids = pids[shuffled]
    try:
        fold_of = split_folds(pids, pairs, count, seed)
    except DataError:
        assume(False)
    for pid in set(pids.tolist()):
        assert len(set(fold_of[pids == pid].tolist())) == 1
    assert (fold_of[pairs[:, 0]] == fold_of[pairs[:, 1]]).all()
    assert all(len(set(pids[fold_of == fold].tolist())) >= 2 for fold in range(count))
    number = {pid: i for i, pid in enumerate(np.unique(pids).tolist())}
    groups = connected(len(number), [[number[pids[a]], number[pids[b]]] for a, b in pairs])
    largest = max(Counter(groups[number[pid]] for pid in pids.tolist()).values())
    filled = np.bincount(fold_of, minlength=count)
    assert filled.max() - filled.min() <= largest


def test_a_split_is_a_function_of_the_seed():
    pids, nobody = np.repeat(np.arange(30), 3), np.empty((0, 2), np.int64)
    once, again, other = (split_folds(pids, nobody, 5, seed).tolist() for seed in (1, 1, 2))
    assert once == again != other
    assert len({tuple(split_folds(pids, nobody, 5, seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize(("persons", "count", "pairs"), [(5, 3, []), (8, 4, [[0, 2], [2, 4], [4, 6], [6, 8]])])
def test_too_few_identities(persons, count, pairs):
    joined = r"near-duplicates keep 4 of them with others" if pairs else "at least 2"
    with pytest.raises(DataError, match=rf"--folds {count}: {persons} training identities.*{joined}"):
        split_folds(np.repeat(np.arange(persons), 2), np.array(pairs, np.int64).reshape(-1, 2), count, 0)


def board_of(cameras):
    """pids and camids of identities that are seen by these cameras."""
    return np.repeat(np.arange(len(cameras)), list(map(len, cameras))), np.array([c for cams in cameras for c in cams])


def shape_drawn(pids, camids, shape, seed=0):
    query, gallery = draw_board(pids, camids, shape, [seed, 0, 8])
    assert not set(query.tolist()) & set(gallery.tolist())
    return shape_of_lists(pids[query], camids[query], pids[gallery], camids[gallery]), query, gallery


CAMERAS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=4, max_size=14)
SHAPES = st.builds(
    BoardShape,
    st.lists(st.tuples(st.integers(2, 8), st.integers(1, 3)), max_size=6).map(lambda rows: tuple(sorted(rows))),
    st.floats(0, 0.6),
    st.booleans(),
)


@given(CAMERAS, SHAPES, st.integers(0, 99))
def test_every_query_can_be_answered(cameras, shape, seed):
    pids, camids = board_of(cameras)
    query, gallery = draw_board(pids, camids, shape, [seed])
    assert not set(query.tolist()) & set(gallery.tolist())
    for row in query:
        right = gallery[pids[gallery] == pids[row]]
        assert len(right) and (not shape.cameras or (camids[right] != camids[row]).any())
    again = draw_board(pids, camids, shape, [seed])
    assert query.tolist() == again[0].tolist() and gallery.tolist() == again[1].tolist()
    most = max((images for images, _ in shape.persons), default=9)
    asked = set(pids[query].tolist())
    assert all((pids[query] == p).sum() + (pids[gallery] == p).sum() <= most for p in asked)


def test_a_test_of_the_same_kind_is_copied_to_the_letter():
    """Ten identities of 4 to 8 images by four cameras; the test has the same numbers, and one or two queries each."""
    sizes = [4, 5, 6, 7, 8] * 2
    pids, camids = board_of([[i % 4 for i in range(size)] for size in sizes])
    want = tuple(sorted((size, 1 + i % 2) for i, size in enumerate(sizes)))
    found, *_ = shape_drawn(pids, camids, BoardShape(want, 0.0, True))
    assert found.persons == want and found.distractors == 0 and found.cameras


def test_images_above_the_tests_number_are_left_out_and_quantiles_are_kept():
    pids, camids = board_of([[0, 1, 2, 3] * 3] * 8)
    want = ((3, 1), (4, 1), (6, 2), (9, 2))
    found, *_ = shape_drawn(pids, camids, BoardShape(want, 0.0, True))
    assert found.persons == tuple(sorted(want * 2))


def test_distractors_are_whole_identities_and_those_that_cannot_ask_come_first():
    pids, camids = board_of([[0, 1, 2, 3]] * 12 + [[0]] * 3)
    found, query, gallery = shape_drawn(pids, camids, BoardShape(((4, 1),), 0.4, True))
    assert found.distractors == pytest.approx(0.4, abs=0.05)
    assert {12, 13, 14} <= set(pids[gallery].tolist()) and set(pids[query].tolist()) <= set(range(12))
    most, *_ = shape_drawn(pids, camids, BoardShape(((4, 1),), 0.99, True))
    assert len(most.persons) == 6  # half of those that can ask


def test_without_labels_the_rule_of_the_held_out_split():
    """All images, one query per camera that leaves another camera to find; nobody is a distractor."""
    pids, camids = board_of([[0, 0, 1, 1, 2]] * 4 + [[0, 0]])
    found, query, gallery = shape_drawn(pids, camids, shape_of_lists([], [0, 1], [], [0, 1]))
    assert found.persons == ((5, 3),) * 4 and len(query) + len(gallery) == 20
    nobody = np.full(len(pids), -1)
    found, query, gallery = shape_drawn(pids, nobody, shape_of_lists([], [-1], [], [-1]))
    assert found.persons == ((2, 1), *((5, 1),) * 4) and not found.cameras


def test_a_board_is_a_function_of_its_seed():
    pids, camids = board_of([[0, 1, 2, 3]] * 12)
    shape = BoardShape(((4, 1),), 0.2, True)
    once, again, other = (draw_board(pids, camids, shape, [seed, 0, 8])[0].tolist() for seed in (0, 0, 1))
    assert once == again != other


def test_the_shape_of_lists():
    shape = shape_of_lists([1, 1, 2, -1], [0, 1, 0, 0], [1, 2, 2, 7, -1], [2, 1, 2, 0, 0])
    assert shape == BoardShape(((3, 1), (3, 2)), 0.4, True)
    assert shape_of_lists([1], [-1], [1], [0]).cameras is False
