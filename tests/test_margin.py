"""A margin that grows, the other convention of smoothing, and several branches: closed forms and the slow answer."""

import math

import numpy as np
import pytest
import torch

from models.losses.identity import identity_loss
from models.losses.triplet import grown, triplet_loss
from models.net import Output
from tests.oracles import batch_hard_triplet, label_smoothing_loss

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
RNG = np.random.default_rng(3)


def output(width: int = 8, n_branches: int = 1) -> Output:
    feats = torch.from_numpy(RNG.normal(size=(6, width)).astype(np.float32))
    return Output(feats, feats, (), n_branches)


@pytest.mark.parametrize(
    ("t", "margin"), [(0.5, 0.1), (10, 0.1), (25, 0.2), (40, 0.3), (41, 0.3), (120, 0.3), (math.inf, 0.3)]
)
def test_margin_at(t, margin):
    o = output()
    loss = triplet_loss(margin=0.3, start=0.1, rise=(10, 40), epochs=120)
    assert loss(o, LABELS, t).item() == pytest.approx(batch_hard_triplet(o.feats, LABELS.tolist(), margin), rel=1e-5)


def test_a_shorter_run_rises_in_proportion():
    o = output()
    short = triplet_loss(margin=1.0, start=0.0, rise=(10, 40), epochs=12)
    long = triplet_loss(margin=1.0, start=0.0, rise=(10, 40), epochs=120)
    for t in (0.5, 1.0, 2.2, 4.0, 9.0):
        assert short(o, LABELS, t).item() == pytest.approx(long(o, LABELS, 10 * t).item(), rel=1e-6)


def test_a_jump():
    assert [grown(t, (20, 20)) for t in (19.99, 20, 21)] == [0, 1, 1]


@pytest.mark.parametrize("rise", [(20, 20), (10, 40)])
def test_a_time_on_a_device_gives_the_same_share(rise):
    for t in (0.0, 10.0, 19.99, 20.0, 25.0, 40.0, math.inf):
        assert grown(torch.tensor(t, dtype=torch.float64), rise).item() == grown(t, rise)


def test_without_start_time_has_no_effect():
    o = output()
    loss = triplet_loss(margin=0.3)
    assert loss(o, LABELS, 0.0).item() == loss(o, LABELS, 99.0).item() == loss(o, LABELS).item()


def test_several_branches_are_averaged():
    o = output(width=24, n_branches=3)
    each = [batch_hard_triplet(o.feats[:, 8 * b : 8 * b + 8], LABELS.tolist(), 0.3) for b in range(3)]
    assert triplet_loss(margin=0.3)(o, LABELS).item() == pytest.approx(sum(each) / 3, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": 0.2, "start": 0.3}, "start 0.3 with margin 0.2"),
        ({"margin": "soft", "start": 0.1}, "start 0.1 with margin 'soft'"),
        ({"start": 0.1, "rise": [40, 10]}, r"rise \[40, 10\]"),
        ({"start": 0.1, "rise": [40]}, r"rise \[40\]"),
    ],
)
def test_refused(options, said):
    with pytest.raises(ValueError, match=said):
        triplet_loss(**options)


@pytest.mark.parametrize(("over", "convention"), [("others", "recipe"), ("all", "torch")])
@pytest.mark.parametrize("classes", [2, 7])
def test_both_conventions_of_smoothing(over, convention, classes):
    logits = torch.from_numpy(RNG.normal(size=(6, classes)).astype(np.float32) * 3)
    labels = torch.from_numpy(RNG.integers(0, classes, 6))
    got = identity_loss(eps=0.2, over=over)(Output(logits, logits, (logits,)), labels)
    assert got.item() == pytest.approx(label_smoothing_loss(logits, labels.tolist(), 0.2, convention), rel=1e-5)


def test_all_is_torchs_own():
    logits, labels = torch.from_numpy(RNG.normal(size=(5, 9)).astype(np.float32)), torch.tensor([0, 8, 3, 3, 1])
    wanted = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.3).item()
    assert identity_loss(eps=0.3, over="all")(Output(logits, logits, (logits,)), labels).item() == pytest.approx(wanted)


def test_another_convention_is_refused():
    with pytest.raises(ValueError, match="there are others, all"):
        identity_loss(over="some")
