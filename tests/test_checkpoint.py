"""Checkpoints: whole, damaged, and of any optimizer in the registry."""

import json

import pytest
import torch
from torch import nn

from configs.schema import ComponentConfig
from configs.store.atomic_files import with_checksum
from models import registry
from models.training import checkpoint
from models.training.checkpoint import load_checkpoint, snapshot
from models.training.epoch_metrics import EpochMetrics, TrainingPosition
from tests.tiny import TinyBackbone

SCALER = torch.amp.GradScaler("cpu", enabled=False)


def save_checkpoint(folder, *state):
    snapshot(*state).write(folder)


def make(name="adam", lr=1e-2):
    torch.manual_seed(0)
    net = TinyBackbone().to(memory_format=torch.channels_last)
    return net, registry.make(
        registry.OPTIMIZERS, "optimizer", ComponentConfig(name=name, lr=lr), params=net.parameters()
    )


def learn(net, optimizer, steps, seed):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(4, 3, 16, 8, generator=rng)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_gone_on_with_every_optimizer_ends_in_the_same_bits(tmp_path, name):
    net, optimizer = make(name)
    learn(net, optimizer, 3, seed=1)
    save_checkpoint(tmp_path, TrainingPosition(3), net, optimizer, SCALER)
    other, fresh = make(name)
    assert load_checkpoint(tmp_path, other, fresh, SCALER) == TrainingPosition(3)
    for one, two in ((net, optimizer), (other, fresh)):
        learn(one, two, 3, seed=2)
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    for i, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            again = fresh.state_dict()["state"][i][slot]
            assert torch.equal(value, again) and value.stride() == again.stride(), (i, slot)


def scaled_steps(scaler, *factors):
    """Steps of one weight whose gradients are the factors."""
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for factor in factors:
        optimizer.zero_grad()
        scaler.scale((weight * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()


def test_the_scale_of_gradients_goes_on_where_it_was(tmp_path):
    """It doubles after every three sound steps and is halved by one that is not: 64, 128, 64, and two steps later the
    doubling is a step away."""
    net, optimizer = make()
    first, fresh = (torch.amp.GradScaler("cpu", 64.0, growth_interval=3) for _ in range(2))
    scaled_steps(first, 1, 1, 1, torch.inf, 1, 1)
    save_checkpoint(tmp_path, TrainingPosition(1), net, optimizer, first)
    scaled_steps(fresh, torch.inf)
    assert (first.get_scale(), fresh.get_scale()) == (64, 32)
    load_checkpoint(tmp_path, net, optimizer, fresh)
    assert fresh.get_scale() == 64
    scaled_steps(fresh, 1)
    assert fresh.get_scale() == 128


def test_what_the_losses_learned_is_kept(tmp_path):
    net, optimizer = make()
    losses = nn.ModuleDict({"center": registry.LOSSES["center"](dim=2, classes=3)})
    losses["center"].centers += torch.arange(6.0).view(3, 2)
    save_checkpoint(tmp_path, TrainingPosition(1), net, optimizer, SCALER, losses)
    again = nn.ModuleDict({"center": registry.LOSSES["center"](dim=2, classes=3)})
    assert load_checkpoint(tmp_path, net, optimizer, SCALER, again) == TrainingPosition(1)
    assert again["center"].centers.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_nothing_there_is_epoch_0_and_says_nothing(tmp_path):
    said = []
    assert load_checkpoint(tmp_path, *make(), SCALER, say=said.append) == TrainingPosition(0) and said == []


def test_a_point_within_an_epoch_comes_back_with_its_sums(tmp_path):
    net, optimizer = make()
    sums = EpochMetrics(3, lr=1e-3, loss=0.1 + 0.2, terms={"id": 1 / 3}, images=16, seconds=0.7)
    point = TrainingPosition(2, 5, sums, ('{"epoch": 1}', '{"epoch": 2}'))
    save_checkpoint(tmp_path, point, net, optimizer, SCALER)
    assert load_checkpoint(tmp_path, *make(), SCALER) == point


@pytest.mark.parametrize(("begun", "now"), [(2, 5), (5, 2), (3, 3)])
def test_another_number_of_threads_is_said(tmp_path, monkeypatch, begun, now):
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "get_num_threads", lambda: begun)
        save_checkpoint(tmp_path, TrainingPosition(1), *make(), SCALER)
        patch.setattr(checkpoint.torch, "get_num_threads", lambda: now)
        assert load_checkpoint(tmp_path, *make(), SCALER, say=said.append) == TrainingPosition(1)
    assert [f"started with {begun} threads, resumed with {now}: " in text for text in said] == [True] * (begun != now)


def test_only_the_last_checkpoint_stays(tmp_path):
    net, optimizer = make()
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, TrainingPosition(epoch), net, optimizer, SCALER)
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["epoch-3-0.safetensors", "state.json"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def change(path, old, new):
    """As a flipped bit would."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: flip(folder / "epoch-1-0.safetensors"),
        lambda folder: (folder / "epoch-1-0.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.json").write_text("[]"),
        lambda folder: (folder / "state.json").write_text(json.dumps({"point": {"epoch": 1}})),
        lambda folder: (folder / "state.json").write_text(with_checksum({"point": {"epoch": 1}})),
        lambda folder: change(folder / "state.json", '"epoch": 1', '"epoch": 3'),
    ],
)
def test_a_damaged_checkpoint_is_said_and_changes_nothing(tmp_path, spoil):
    net, optimizer = make()
    learn(net, optimizer, 2, seed=1)
    save_checkpoint(tmp_path, TrainingPosition(1), net, optimizer, SCALER)
    spoil(tmp_path / "resume")
    other, fresh = make()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    said = []
    assert load_checkpoint(tmp_path, other, fresh, SCALER, say=said.append) == TrainingPosition(0)
    assert len(said) == 1 and "damaged" in said[0] and "starts from epoch 0" in said[0]
    assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())
    assert fresh.state_dict()["state"] == {}


def test_killed_while_writing_the_previous_checkpoint_stands(tmp_path, monkeypatch):
    net, optimizer = make()
    save_checkpoint(tmp_path, TrainingPosition(1), net, optimizer, SCALER)
    learn(net, optimizer, 2, seed=1)

    def broken(*args):
        raise OSError("on purpose")

    for name in ("write_text", "write_file"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, name, broken)
            with pytest.raises(OSError, match="on purpose"):
                save_checkpoint(tmp_path, TrainingPosition(2), net, optimizer, SCALER)
        assert load_checkpoint(tmp_path, *make(), SCALER) == TrainingPosition(1)
