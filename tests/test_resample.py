"""Doubling identities with few images: which, how often, and that no hand holds an image twice without need."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.recipe import Resample
from models.data.balance import balance
from models.data.pk_sampler import pk_batches
from models.data.split import make_split
from tests.oracles import check_pk_batch, resampling_expectation


def split_of(counts: list[int]):
    rows = [(f"{p:05d}_{i:03d}.jpg", Path("x"), p, 0) for p, n in enumerate(counts) for i in range(n)]
    return make_split(rows)


def n_after(training) -> int:
    """Images of an epoch that uses up every hand."""
    counts = Counter(training.labels.tolist())
    return sum(n * (2 if label in training.doubled else 1) for label, n in counts.items())


def test_off_by_default():
    plan = load_build_config(["r50"])
    assert plan.recipe.resample is None
    assert balance(split_of([3, 5, 2])).doubled == ()


def test_as_many_as_expected():
    counts = np.random.default_rng(0).geometric(0.1, 3000).clip(1, 200).tolist()
    training = balance(split_of(counts), 2, Resample(), seed=1)
    mean, variance = resampling_expectation([n for n in counts if n > 1])
    assert abs(n_after(training) - mean) < 4 * variance**0.5
    assert variance > 0 and n_after(training) > len(training.labels)


@pytest.mark.parametrize(("p", "wanted"), [(0.0, set()), (1.0, {2, 50, 99})])
def test_only_those_with_2_to_99_images(p, wanted):
    training = balance(split_of([1, 2, 50, 99, 100, 150]), 1, Resample(p=p), seed=0)
    kept = Counter(training.labels.tolist())
    assert {kept[label] for label in training.doubled} == wanted


def test_the_same_for_the_same_seed_and_no_other():
    split = split_of([5] * 60)
    same = [balance(split, 2, Resample(), seed=s).doubled for s in (3, 3, 4)]
    assert same[0] == same[1] != same[2]


def test_doubled_images_come_twice_in_an_epoch():
    labels = np.repeat(np.arange(4), [8, 8, 7, 5])
    doubled = (1, 2)
    seen = Counter()
    for epoch in range(30):
        rows = pk_batches(labels, 2, 4, seed=0, epoch=epoch, doubled=doubled)
        for batch in rows:
            check_pk_batch(labels[batch], 2, 4, images_of_batch=batch, n_images=Counter(labels.tolist()))
        for hand in rows.reshape(-1, 4):
            seen[labels[hand[0]]] += 1
    # 4 hands and 3.5 hands instead of 2 and 1.75, in every epoch where they fit into batches
    assert seen[1] > 1.8 * seen[0] and seen[2] > 1.8 * seen[0]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 9, 11])
@pytest.mark.parametrize("doubled", [(), (0, 1)])
def test_every_image_is_dealt_as_often_as_it_should(n, doubled):
    labels = np.repeat([0, 1], n)
    times = 2 if doubled else 1
    for epoch in range(20):
        rows = pk_batches(labels, 2, 4, seed=2, epoch=epoch, doubled=doubled)
        counts = Counter(rows.ravel().tolist())
        hands = -(-n * times // 4)
        assert rows.shape == (hands, 8) and sum(counts.values()) == 8 * hands
        assert min(counts.values()) >= times and set(counts) == set(range(2 * n))
        if n >= 4:
            assert max(counts.values()) <= times + 1
            assert all(len(set(hand.tolist())) == 4 for hand in rows.reshape(-1, 4)), "no image twice in a hand"


def test_refused():
    with pytest.raises(ConfigError, match=r"resample.p: .*less than or equal to 1"):
        load_build_config(["r50"], sets=["recipe.resample={p: 2}"])
