"""The long tail cut, labels contiguous and sorted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import DataError
from models.data.balance import balance
from models.data.split import Split


def split_of(pids):
    names = tuple(f"{i:04d}.jpg" for i in range(len(pids)))
    return Split(names, tuple(map(Path, names)), np.array(pids), np.full(len(pids), -1))


def test_by_hand():
    training = balance(split_of([70, 5, 70, 9, 5, -1, -1, 70]), 2)
    assert training.pids == (5, 70)
    assert training.labels.tolist() == [1, 0, 1, 0, 1]
    assert training.split.names == ("0000.jpg", "0001.jpg", "0002.jpg", "0004.jpg", "0007.jpg")


@given(st.lists(st.integers(-1, 6), min_size=8, max_size=40), st.integers(1, 4))
def test_no_dead_row_nobody_too_rare_nobody_unknown(pids, least):
    enough = sorted({p for p in pids if p >= 0 and pids.count(p) >= least})
    if len(enough) < 2:
        with pytest.raises(DataError, match=f"{least} images or more; at least 2 identities are needed"):
            balance(split_of(pids), least)
        return
    training = balance(split_of(pids), least)
    assert list(training.pids) == enough and all(type(p) is int for p in training.pids)
    assert sorted(set(training.labels.tolist())) == list(range(len(enough)))
    assert [training.pids[label] for label in training.labels] == training.split.pids.tolist()
    assert len(training.split) == sum(p in enough for p in pids)
    assert training.labels.dtype == np.int64
