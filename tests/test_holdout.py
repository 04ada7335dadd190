"""Identities kept aside: disjoint, and every query can be answered."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from configs.errors import ConfigError, DataError
from models.data.augment import image_rng
from models.data.heldout.holdout import hold_out
from models.data.pk_sampler import pk_batches
from models.data.split import Split

IDENTITIES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=7), min_size=6, max_size=14)


def split_of(cameras):
    """One image for each camera of each identity, shuffled."""
    pids = np.repeat(np.arange(len(cameras)) * 3, [len(c) for c in cameras])
    camids = np.array([c for cams in cameras for c in cams])
    order = np.random.default_rng(0).permutation(len(pids))
    names = tuple(f"{i:04d}.jpg" for i in range(len(pids)))
    return Split(names, tuple(map(Path, names)), pids[order], camids[order])


def held(split, share, seed=0):
    try:
        return hold_out(split, share, seed)
    except DataError:
        assume(False)


@given(IDENTITIES, st.floats(0.2, 0.8), st.integers(0, 99), st.booleans())
def test_nothing_is_lost_and_identities_are_disjoint(cameras, share, seed, known):
    split = split_of(cameras if known else [[-1] * len(c) for c in cameras])
    train, query, gallery = held(split, share, seed)
    assert sorted(train.names + query.names + gallery.names) == sorted(split.names)
    assert not set(train.pids) & (set(query.pids) | set(gallery.pids))
    assert set(query.pids) == set(gallery.pids)
    for part in (train, query, gallery):
        assert list(part.names) == sorted(part.names)


@given(IDENTITIES, st.floats(0.2, 0.8), st.integers(0, 99))
def test_every_query_finds_another_camera(cameras, share, seed):
    _, query, gallery = held(split_of(cameras), share, seed)
    for pid, camid in zip(query.pids, query.camids, strict=True):
        assert set(gallery.camids[gallery.pids == pid]) - {camid}
    for pid in set(query.pids):
        cams = query.camids[query.pids == pid]
        assert len(cams) == len(set(cams))  # one a camera


@given(IDENTITIES, st.integers(0, 99))
def test_without_cameras_one_in_four_asks(cameras, seed):
    _, query, gallery = held(split_of([[-1] * len(c) for c in cameras]), 0.5, seed)
    for pid in set(query.pids):
        asking, there = (query.pids == pid).sum(), (gallery.pids == pid).sum()
        assert asking == max(1, (asking + there) // 4) and there >= 1


def test_as_many_cameras_ask_as_can_be_answered():
    """Two images by each of three cameras: all three ask. One by each: the last must be left to be found."""
    cameras = [[0, 0, 1, 1, 2, 2]] * 4 + [[0, 1, 2]] * 4
    _, query, _ = hold_out(split_of(cameras), 0.7, 0)
    for pid in set(query.pids):
        assert (query.pids == pid).sum() == (3 if pid < 12 else 2)


def test_an_identity_of_one_camera_is_left_to_training():
    """Under Market's rule an image of the query's own camera is junk: nobody could answer."""
    train, query, _ = hold_out(split_of([[5, 5, 5]] * 6 + [[0, 1]] * 4), 0.5, 0)
    assert len(set(query.pids)) == 2 and set(range(0, 18, 3)) <= set(train.pids)


def test_images_without_identity_stay():
    split = split_of([[0, 1]] * 6)
    pids = np.where(split.pids == 0, -1, split.pids)
    train, *_ = hold_out(Split(split.names, split.paths, pids, split.camids), 0.5, 0)
    assert (train.pids == -1).sum() == 2


def test_a_function_of_the_seed():
    split = split_of([[0, 1, 1, 2]] * 12)
    once, again, other = (hold_out(split, 0.5, seed)[1].names for seed in (1, 1, 2))
    assert once == again != other


def test_its_random_numbers_are_nobody_elses(monkeypatch):
    """Seeds [s, 2] and [s, 2, 0] are one and the same to NumPy, which pads with zeros."""
    real, asked = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: asked.append(seed) or real(seed))
    split = split_of([[0, 1]] * 8)
    asked.clear()
    hold_out(split, 0.5, 7)
    for epoch in range(4):
        pk_batches(split.pids, 4, 2, seed=7, epoch=epoch)
        image_rng(7, epoch, 0)
    assert len(asked) == 9
    assert len({np.random.SeedSequence(seed).generate_state(4).tobytes() for seed in asked}) == 9


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(ConfigError, match="--holdout"):
        hold_out(split_of([[0, 1]] * 8), share, 0)


@pytest.mark.parametrize(
    ("cameras", "share"), [([[0, 1]] * 8, 0.01), ([[0, 1]] * 8, 0.95), ([[0]] * 8, 0.5), ([], 0.5)]
)
def test_too_few_to_keep_any(cameras, share):
    with pytest.raises(DataError, match="at least 2 identities are needed on both sides"):
        hold_out(split_of(cameras or [[0]]), share, 0)
