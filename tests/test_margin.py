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


GO, SKIP = torch.tensor(False), torch.tensor(True)


def with_gap(gap: float, n_branches: int = 1) -> tuple[Output, torch.Tensor]:
    """Four images of whom each has d(a, n) - d(a, p) = gap, by cosine."""
    angle = math.acos(1 - abs(gap))
    one, two = [1.0, 0.0], [math.cos(angle), math.sin(angle)]
    feats = torch.tensor([one, one, two, two] if gap > 0 else [one, two, one, two], dtype=torch.float64)
    feats = torch.cat([feats] * n_branches, dim=1)
    return Output(feats, feats, (), n_branches), torch.tensor([0, 0, 1, 1])


def trained(loss, gaps: list[float], per_epoch: int = 2, n_branches: int = 1) -> list[float]:
    """Batches of these gaps, so many an epoch: the margin after each."""
    seen = []
    for number, gap in enumerate(gaps, 1):
        loss.update_state(*with_gap(gap, n_branches), GO, torch.tensor(number / per_epoch, dtype=torch.float64))
        seen.append(round(loss.now.item(), 6))
    return seen


@pytest.mark.parametrize("n_branches", [1, 3])
def test_the_margin_is_raised_where_the_gap_has_reached_it_and_lowered_where_the_gap_is_below_0(n_branches):
    """A look every two epochs of two batches: the mean of four gaps decides."""
    loss = triplet_loss(margin=0.2, start=0.1, by="gap", every=2, step=0.05)
    reached, between, below = [0.3, 0.1, 0.1, 0.2], [0.4, -0.2, 0.1, -0.2], [0.1, -0.1, -0.2, 0.1]
    seen = trained(loss, reached + between + reached * 3 + below * 5, n_branches=n_branches)
    assert seen[2:4] == [0.1, 0.15], "at the end of the second epoch, not before"
    assert seen[3::4] == [0.15, 0.15, 0.2, 0.2, 0.2, 0.15, 0.1, 0.05, 0.0, 0.0], "from 0 to `margin`"


def test_looks_are_in_epochs_of_a_run_of_120():
    loss = triplet_loss(margin=1.0, start=0.1, by="gap", every=20, step=0.05, epochs=12)
    assert trained(loss, [1.5] * 8) == [0.1, 0.1, 0.1, 0.15, 0.15, 0.15, 0.15, 0.2]


def test_the_loss_is_that_of_the_margin_as_it_stands():
    o, loss = output(), triplet_loss(margin=1.0, start=0.1, by="gap")
    for margin in (0.1, 0.7):
        loss.now.fill_(margin)
        want = batch_hard_triplet(o.feats, LABELS.tolist(), margin)
        assert loss(o, LABELS, 3.0).item() == pytest.approx(want, rel=1e-5) and loss(o, LABELS).dtype == torch.float32


def test_a_batch_that_is_passed_over_does_not_count():
    loss = triplet_loss(margin=1.0, start=0.1, by="gap", every=2)
    nan = Output(torch.full((4, 2), torch.nan), torch.zeros(4, 2), ())
    loss.update_state(nan, torch.tensor([0, 0, 1, 1]), SKIP, 1.0)
    assert loss.total.item() == loss.count.item() == 0
    loss.update_state(nan, torch.tensor([0, 0, 1, 1]), SKIP, 2.0)
    assert loss.now.item() == pytest.approx(0.1) and loss.looks.item() == 1, "nothing was seen, nothing moves"


def test_it_goes_on_from_its_state_to_the_bit():
    gaps = np.random.default_rng(0).uniform(-0.3, 0.6, 40).tolist()

    def fresh():
        return triplet_loss(margin=0.5, start=0.1, by="gap", every=2)

    whole, first, second = fresh(), fresh(), fresh()
    want = trained(whole, gaps)
    trained(first, gaps[:15])
    assert set(first.state_dict()) == {"now", "looks", "total", "count"}
    second.load_state_dict(first.state_dict())
    for number, gap in enumerate(gaps[15:], 16):
        second.update_state(*with_gap(gap), GO, number / 2)
    assert all(torch.equal(second.state_dict()[k], v) for k, v in whole.state_dict().items()) and len(set(want)) > 2


def test_no_value_is_read_back_so_that_a_step_can_be_captured():
    """A tensor without values: whatever asks for one raises."""
    feats, labels, t = (
        torch.empty(s, device="meta", dtype=d) for s, d in (((4, 6), None), ((4,), torch.long), ((), None))
    )
    loss = triplet_loss(margin=0.5, start=0.1, by="gap").to("meta")
    o = Output(feats, feats, (), 2)
    assert loss(o, labels, t).device.type == "meta"
    loss.update_state(o, labels, torch.empty((), dtype=torch.bool, device="meta"), t.double())


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
        ({"start": 0.1, "by": "score"}, "by 'score'; there are: time, gap"),
        ({"by": "gap"}, "by gap with margin 0.3 and start None; both must be numbers"),
        ({"start": 0.1, "by": "gap", "every": 0}, "every 0.0 epochs of this run, step 0.05; both must be above 0"),
        ({"start": 0.1, "by": "gap", "step": -1}, "step -1; both must be above 0"),
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
    with pytest.raises(ValueError, match="there are: others, all"):
        identity_loss(over="some")
