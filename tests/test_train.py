"""Training: stopped and gone on with, numbers that go wrong, and what it leaves behind."""

import hashlib
import json
import os
import signal
import textwrap
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from configs.console.progress import Progress
from configs.console.signals import Stopped
from configs.errors import TrainingError
from models import registry
from models.data.batches import normalise
from models.training import step, train
from models.training.setup import start
from tests import oracles, tiny

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def run(folder, recipe, member=None, data=None, precision="float32", workers=0):
    folder.mkdir(exist_ok=True)
    training, images = data or tiny.training()
    train.train_member(
        member or tiny.member(),
        recipe,
        training,
        images,
        folder,
        device=CPU,
        precision=precision,
        workers=workers,
        progress=Progress(quiet=True),
        pretrained=None,
    )
    return load_file(folder / "weights.safetensors")


def same(one, other):
    assert one.keys() == other.keys()
    return [k for k in one if not torch.equal(one[k], other[k])]


def lines(folder):
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def test_doubled_identities_come_twice_in_an_epoch(tmp_path):
    """6 identities of 3 images: hands of two are 12, or 18 where all are doubled; a batch takes four."""
    (training, images), recipe = tiny.training(), tiny.recipe(epochs=1)
    for doubled, seen in (((), 24), (tuple(range(6)), 32)):
        run(tmp_path / f"{seen}", recipe, data=(replace(training, doubled=doubled), images))
        assert lines(tmp_path / f"{seen}")[0]["images"] == seen


class Stop(Exception):
    pass


def stop_before_epoch(monkeypatch, epoch):
    real = train._epoch

    def stopped(loop, point, *rest):
        if point.epoch == epoch:
            raise Stop
        return real(loop, point, *rest)

    monkeypatch.setattr(train, "_epoch", stopped)
    return lambda: monkeypatch.setattr(train, "_epoch", real)


# ------------------------------------------------------------------------------------------------------ stop and go on


SMALL_RESNET = {"name": "resnet", "width_per_group": 4}


@pytest.mark.parametrize(
    ("backbone", "precision", "losses"),
    [
        ("tiny", "float32", {"id": {"weight": 0.1}, "triplet": {"weight": 0.9}}),
        ("tiny", "bfloat16", {"id": {}, "triplet": {"start": 0.1}, "center": {"weight": 5e-4}}),
        ("tiny", "float32", {"id": {}, "triplet": {"margin": 1.0, "start": 0.1, "by": "gap", "every": 90}}),
        (SMALL_RESNET, "float32", {"id": {"weight": 0.1}, "triplet": {"weight": 0.9}}),
    ],
)
def test_stopped_and_gone_on_with_ends_in_the_same_bits(tmp_path, monkeypatch, backbone, precision, losses):
    recipe, member = tiny.recipe(losses=losses), tiny.member(backbone=backbone)
    whole = run(tmp_path / "whole", recipe, member, precision=precision)
    go_on = stop_before_epoch(monkeypatch, 1)
    with pytest.raises(Stop):
        run(tmp_path / "parts", recipe, member, precision=precision)
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    go_on()
    assert same(whole, run(tmp_path / "parts", recipe, member, precision=precision)) == []
    one, other = lines(tmp_path / "whole"), lines(tmp_path / "parts")
    for line in one + other:
        del line["seconds"]
    assert one == other


def test_a_warmup_by_the_error_is_told_and_gone_on_with(tmp_path, monkeypatch):
    """Stopped while the error is on its way down from 1."""
    recipe = tiny.recipe(epochs=7, schedule={"name": "error_warmup", "factor": 0.5, "error": 0.6})
    whole = run(tmp_path / "whole", recipe)
    rates = [line["lr"] for line in lines(tmp_path / "whole")]
    assert rates[:2] == [5e-4, 5e-4] and rates[-1] == 1e-3
    go_on = stop_before_epoch(monkeypatch, 2)
    with pytest.raises(Stop):
        run(tmp_path / "parts", recipe)
    go_on()
    assert same(whole, run(tmp_path / "parts", recipe)) == []
    assert [line["lr"] for line in lines(tmp_path / "parts")] == rates


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_a_signal_saves_after_the_batch_and_nothing_is_lost(tmp_path, monkeypatch, number, workers):
    """Asked to stop in the first batch of the second epoch: that batch is done, and not done again."""
    recipe = tiny.recipe(checkpoint_every=5, losses={"id": {}, "triplet": {"start": 0.1}, "center": {"weight": 5e-4}})
    batches = len(tiny.epoch_loader(*tiny_arrays(), [], identities=4, per_identity=2, seed=3, epoch=1))
    assert batches >= 2
    whole, seen = run(tmp_path / "whole", recipe), []

    def counted(raw, *args, **kwargs):
        seen.append(len(raw))
        if len(seen) == batches + 1:
            os.kill(os.getpid(), number)
        return normalise(raw, *args, **kwargs)

    monkeypatch.setattr(step, "normalise", counted)
    with pytest.raises(Stopped, match="tiny is saved after epoch 1 and 1 batches") as stopped:
        run(tmp_path / "parts", recipe, workers=workers)
    assert stopped.value.number == number and len(seen) == batches + 1
    assert same(whole, run(tmp_path / "parts", recipe, workers=workers)) == [] and len(seen) == 2 * batches
    one, other = lines(tmp_path / "whole"), lines(tmp_path / "parts")
    for line in one + other:
        del line["seconds"]
    assert one == other


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    def impatient(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still there")

    monkeypatch.setattr(step, "normalise", impatient)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped):
        run(tmp_path / "a", tiny.recipe())
    assert not (tmp_path / "a" / "resume").exists() and signal.getsignal(signal.SIGINT) is before


def test_killed_in_the_middle_of_an_epoch_and_gone_on_with(tmp_path, forked):
    """A process of its own, killed by the system inside the second batch of the last epoch of three, once a thread
    has written what was measured of the two before.
    """
    code = """
    import os, signal, sys, time
    from pathlib import Path
    import torch
    from configs.console.progress import Progress
    from models import registry
    from models.training import step, train
    from tests import tiny
    registry.BACKBONES["tiny"] = tiny.TinyBackbone
    real, count = step.normalise, 0
    def normalise(*args, **kwargs):
        global count
        count += 1
        if count == int(sys.argv[2]):
            until = time.monotonic() + 20
            while time.monotonic() < until and Path(sys.argv[1], "epochs.jsonl").read_text().count("\\n") < 2:
                time.sleep(0.002)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    step.normalise = normalise
    training, images = tiny.training()
    train.train_member(tiny.member(), tiny.recipe(epochs=3), training, images, Path(sys.argv[1]),
        device=torch.device("cpu"), precision="float32", workers=0, progress=Progress(quiet=True), pretrained=None)
    """
    batches = len(tiny.epoch_loader(*tiny_arrays(), [], identities=4, per_identity=2, seed=3, epoch=0))
    assert batches >= 2

    def trained(name, killed_at):
        (tmp_path / name).mkdir(exist_ok=True)
        return forked.run("-c", textwrap.dedent(code), tmp_path / name, killed_at).returncode

    never = -1
    assert trained("parts", 2 * batches + 2) == -signal.SIGKILL
    assert len(lines(tmp_path / "parts")) == 2
    assert (trained("parts", never), trained("whole", never)) == (0, 0)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "parts"))
    assert same(whole, parts) == []
    assert [line["epoch"] for line in lines(tmp_path / "parts")] == [1, 2, 3]


def tiny_arrays():
    training, images = tiny.training()
    return images, training.labels


def test_epochs_past_the_last_checkpoint_are_measured_again(tmp_path, monkeypatch):
    recipe = tiny.recipe(epochs=3, checkpoint_every=2)
    whole = run(tmp_path / "whole", recipe)
    stop = tmp_path / "stop"
    go_on = stop_before_epoch(monkeypatch, 1)
    with pytest.raises(Stop):
        run(stop, recipe)
    assert len(lines(stop)) == 1 and not (stop / "resume").exists()
    go_on()
    assert same(whole, run(stop, recipe)) == []
    assert [line["epoch"] for line in lines(stop)] == [1, 2, 3]


# ------------------------------------------------------------------------------------------------------ what decides


def test_the_weights_depend_on_the_seed_and_not_on_the_state_around(tmp_path):
    recipe = tiny.recipe(epochs=1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = run(tmp_path / "a", recipe)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert same(one, run(tmp_path / "b", recipe)) == []
    assert same(one, run(tmp_path / "c", tiny.recipe(epochs=1, seed=4))) != []


def test_training_leaves_torchs_random_state_alone(tmp_path):
    torch.manual_seed(5)
    registry.make_net(tiny.member(), 3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    start(tiny.member(), tiny.recipe(), 3, tmp_path, None, Progress(quiet=True))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_weight(tmp_path, workers):
    recipe = tiny.recipe(epochs=1)
    assert same(run(tmp_path / "a", recipe), run(tmp_path / "b", recipe, workers=workers)) == []


def test_the_input_is_left_as_it_was(tmp_path):
    training, images = tiny.training()
    before = hashlib.sha256(images.tobytes()).digest()
    images.flags.writeable = False
    run(tmp_path / "a", tiny.recipe(epochs=1), data=(training, images))
    assert hashlib.sha256(images.tobytes()).digest() == before


# ----------------------------------------------------------------------------------------------------- what it leaves


def test_one_line_an_epoch_and_the_class_list(tmp_path):
    run(tmp_path / "a", tiny.recipe(epochs=3))
    told = lines(tmp_path / "a")
    assert [line["epoch"] for line in told] == [1, 2, 3]
    for line in told:
        assert line["images"] > 0 and line["images"] % 8 == 0 and 0 <= line["accuracy"] <= 1
        assert line["loss"] == pytest.approx(oracles.total_loss(line["terms"]["id"], line["terms"]["triplet"]))
    # the rate is that of the end of the epoch, of a run of 120 stretched over 3
    assert told[0]["lr"] == pytest.approx(1e-3 * oracles.learning_rate(40) / 3.5e-4)
    assert told[2]["lr"] == pytest.approx(1e-3 * oracles.learning_rate(120) / 3.5e-4)
    assert json.loads((tmp_path / "a" / "labels.json").read_text()) == {"pids": [10, 20, 30, 40, 50, 60]}


def test_the_first_step_is_adams_on_the_total_loss(tmp_path, monkeypatch):
    """One batch, one step, done again by hand from the same start; P x K is the whole set, and nothing is augmented."""
    data = tiny.training(identities=4, each=2)
    recipe = tiny.recipe(epochs=1, augment=[], optimizer={"name": "adam", "lr": 1e-3, "weight_decay": 5e-4})
    after = run(tmp_path / "a", recipe, data=data)
    net = start(tiny.member(), recipe, 4, tmp_path, None, Progress(quiet=True)).train()
    (raw, labels), *more = tiny.epoch_loader(data[1], data[0].labels, [], identities=4, per_identity=2, seed=3, epoch=0)
    assert not more
    output = net(normalise(raw, CPU, channels_last=True))
    target = torch.full((8, 4), 0.1 / 3).scatter_(1, labels[:, None], 0.9)
    loss = 0.1 * -(target * output.logits[0].log_softmax(1)).sum(1).mean()
    unit = output.feats / output.feats.norm(dim=1, keepdim=True)
    dist = 1 - unit @ unit.T
    gaps = []
    for i in range(8):
        own = max(dist[i, j] for j in range(8) if j != i and labels[j] == labels[i])
        gaps.append((own - min(dist[i, j] for j in range(8) if labels[j] != labels[i]) + 0.3).clamp(min=0))
    (loss + 0.9 * sum(gaps) / 8).backward()
    rate = 1e-3 * oracles.learning_rate(120) / 3.5e-4
    for name, p in net.named_parameters():
        if p.requires_grad:
            g = p.grad + 5e-4 * p.detach()
            want = p.detach() - rate * g / (g.abs() + 1e-8)  # Adam's first step
            # where a gradient is about 0 its sign is rounding
            sure = g.abs() > 1e-5
            torch.testing.assert_close(after[name][sure], want[sure], atol=rate / 100, rtol=0)


# --------------------------------------------------------------------------------------------------- numbers gone wrong


def test_a_rate_far_too_high_is_said_with_the_member_and_what_to_do(tmp_path):
    recipe = tiny.recipe(optimizer={"name": "adam", "lr": 1e30})
    with pytest.raises(TrainingError, match=r"tiny: .*(not a finite number|not finite).*recipe\.optimizer\.lr"):
        run(tmp_path / "a", recipe)
    assert not (tmp_path / "a" / "weights.safetensors").exists()


def test_the_batch_that_broke_is_named(tmp_path, monkeypatch):
    """A batch of NaN, the second of its epoch: the message names that batch and its images."""
    real, seen = step.normalise, []

    def broken(raw, *args, **options):
        seen.append(raw)
        batch = real(raw, *args, **options)
        return batch * float("nan") if len(seen) == 2 else batch

    monkeypatch.setattr(step, "normalise", broken)
    rows = tiny.epoch_loader(*tiny_arrays(), [], identities=4, per_identity=2, seed=3, epoch=0).rows
    names = ", ".join(f"{i:04d}.png" for i in rows[1][:3])
    with pytest.raises(TrainingError, match=rf"tiny: .* epoch 1, batch 2 of {len(rows)} \(images {names}"):
        run(tmp_path / "a", tiny.recipe())


def test_weights_that_break_in_the_very_last_step_are_not_kept(tmp_path, monkeypatch):
    """Every loss was finite, and what the last step left is not."""
    real = train._epoch

    def overshot(loop, *args):
        metrics = real(loop, *args)
        with torch.no_grad():
            loop.run.net.backbone[3].weight[0, 0, 0, 0] = torch.inf
        return metrics

    monkeypatch.setattr(train, "_epoch", overshot)
    with pytest.raises(TrainingError, match=r"tiny: 1 of .* not finite after the last step, first backbone\.3\.weight"):
        run(tmp_path / "a", tiny.recipe(epochs=1, checkpoint_every=5))
    assert not (tmp_path / "a" / "weights.safetensors").exists()
