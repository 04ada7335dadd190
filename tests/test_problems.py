"""What problems that are tuned by themselves make together."""

import numpy as np
import pytest
from scipy.stats import binom

from ensemble.tune.__main__ import together


def test_all_queries_count_alike_and_persons_are_drawn():
    """30 persons ask once in one problem and twice in the other; 18 win a fifth with all three, the others lose it. The
    first problem has 10 more queries that nobody could score."""
    pids = np.arange(30), np.repeat(np.arange(30), 2)
    wins = [np.where(p < 18, 0.2, -0.2) for p in pids]
    first = np.concatenate([np.full(30, 0.4), np.full(10, np.nan)])
    held = [
        (np.concatenate([pids[0], np.full(10, 5)]), first, first + np.concatenate([wins[0], np.zeros(10)])),
        (pids[1], np.full(60, 0.7), 0.7 + wins[1]),
    ]
    whole = together(held, 0)
    assert whole["base"] == pytest.approx(0.6) and whole["total"] == pytest.approx(0.64)
    gain = whole["gain"]
    low, high = (0.4 * binom.ppf(share, 30, 0.6) / 30 - 0.2 for share in (0.025, 0.975))
    assert (gain["mean"], gain["low"], gain["high"]) == pytest.approx((0.04, low, high))
    assert low < 0 and gain["level"] == 0.95, "by queries it would be beyond chance"


def test_the_seed_is_of_the_draws():
    rng = np.random.default_rng(0)
    held = [(np.arange(20), rng.random(20), rng.random(20)) for _ in range(2)]
    one, again, other = (together(held, seed)["gain"] for seed in (0, 0, 1))
    assert one == again and one["mean"] == other["mean"] and one["low"] != other["low"]
