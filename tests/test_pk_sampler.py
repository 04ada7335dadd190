"""P x K batches: exactly P identities of K images, nothing repeated without need, a function of seed and epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from models.data.pk_sampler import pk_batches
from tests.oracles import check_pk_batch

SIZES = st.lists(st.integers(1, 14), min_size=2, max_size=9)


def labels_of(sizes, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


@given(SIZES, st.integers(2, 9), st.integers(2, 5), st.integers(0, 2**40), st.integers(0, 200))
def test_every_batch_is_p_identities_of_k_images(sizes, P, K, seed, epoch):
    P = min(P, len(sizes))
    labels = labels_of(sizes)
    batches = pk_batches(labels, P, K, seed=seed, epoch=epoch)
    assert batches.ndim == 2 and len(batches) >= 1
    for rows in batches:
        check_pk_batch(labels[rows], P, K, rows, dict(enumerate(sizes)))
        assert (labels[rows].reshape(P, K) == labels[rows][::K, None]).all()  # side by side


@given(SIZES, st.integers(2, 5))
def test_an_identity_with_fewer_than_k_shows_all_it_has_as_evenly_as_it_can(sizes, K):
    labels = labels_of(sizes)
    for rows in pk_batches(labels, 2, K, seed=1, epoch=0):
        for hand in rows.reshape(2, K):
            if sizes[labels[hand[0]]] < K:
                _, times = np.unique(hand, return_counts=True)
                assert len(times) == sizes[labels[hand[0]]] and times.max() - times.min() <= 1


@given(SIZES, st.integers(2, 4), st.integers(2, 4))
def test_an_image_comes_twice_only_to_fill_a_hand(sizes, P, K):
    """Of an identity's images, dealt into hands of K, as many are repeated as its last hand is short of."""
    P = min(P, len(sizes))
    labels = labels_of(sizes)
    batches = pk_batches(labels, P, K, seed=0, epoch=0)
    for label, size in enumerate(sizes):
        seen = batches[labels[batches] == label]
        assert len(seen) - len(set(seen)) <= -size % K
        assert len(seen) <= size + -size % K


def test_equal_identities_are_used_up():
    labels = labels_of([8] * 6)
    batches = pk_batches(labels, 3, 4, seed=0, epoch=0)
    assert sorted(batches.ravel()) == list(range(48))


def test_a_long_tail_is_used_up_evenly():
    """One identity of 40 and ten of 4, two at a time: the large one is in every batch, and each small one once."""
    sizes = [40] + [4] * 10
    labels = labels_of(sizes)
    batches = pk_batches(labels, 2, 4, seed=0, epoch=0)
    assert len(batches) == 10 and all((labels[rows] == 0).any() for rows in batches)
    assert sorted(set(labels[batches].ravel())) == list(range(11))


def test_a_function_of_seed_and_epoch_alone():
    labels = labels_of([5, 9, 3, 7, 2, 6])
    np.random.seed(0)  # noqa: NPY002
    one = pk_batches(labels, 3, 4, seed=5, epoch=2)
    np.random.seed(1)  # noqa: NPY002
    np.testing.assert_array_equal(one, pk_batches(labels, 3, 4, seed=5, epoch=2))
    for other in ({"seed": 5, "epoch": 3}, {"seed": 6, "epoch": 2}):
        two = pk_batches(labels, 3, 4, **other)
        assert one.shape != two.shape or (one != two).any()


def test_labels_need_not_be_contiguous():
    rows = pk_batches(np.array([7, 7, 3, 3, 100, 100]), 3, 2, seed=0, epoch=0)
    assert sorted(rows[0]) == [0, 1, 2, 3, 4, 5]


def test_more_identities_a_batch_than_there_are():
    with pytest.raises(ConfigError, match=r"identities_per_batch 5 is more than the 3 .*identities_per_batch=3"):
        pk_batches(labels_of([2, 2, 2]), 5, 2, seed=0, epoch=0)


def test_many_identities_take_no_time_each():
    """15,000 identities, as in NAIC: every one is dealt once."""
    labels = np.repeat(np.arange(15_000), 2)
    batches = pk_batches(labels, 16, 4, seed=0, epoch=0)
    assert len(batches) == 15_000 // 16 and len(set(labels[batches].ravel())) == 16 * len(batches)
