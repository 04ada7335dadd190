"""Checkpoints: whole, damaged, and of any optimizer in the registry."""

import json

import pytest
import torch
from torch import nn

from configs.schema import Named
from models import checkpoint, registry
from models.checkpoint import load_checkpoint, save_checkpoint, write_flushed
from tests.tiny import TinyBackbone

SCALER = torch.amp.GradScaler("cpu", enabled=False)


def make(name="adam", lr=1e-2):
    torch.manual_seed(0)
    net = TinyBackbone().to(memory_format=torch.channels_last)
    return net, registry.make(registry.OPTIMIZERS, "optimizer", Named(name=name, lr=lr), params=net.parameters())


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
    save_checkpoint(tmp_path, 3, net, optimizer, SCALER)
    other, fresh = make(name)
    assert load_checkpoint(tmp_path, other, fresh, SCALER) == 3
    for one, two in ((net, optimizer), (other, fresh)):
        learn(one, two, 3, seed=2)
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    for i, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            again = fresh.state_dict()["state"][i][slot]
            assert torch.equal(value, again) and value.stride() == again.stride(), (i, slot)


def test_what_the_losses_learned_is_kept(tmp_path):
    net, optimizer = make()
    losses = nn.ModuleDict({"center": registry.LOSSES["center"](dim=2, classes=3)})
    losses["center"].centers += torch.arange(6.0).view(3, 2)
    save_checkpoint(tmp_path, 1, net, optimizer, SCALER, losses)
    again = nn.ModuleDict({"center": registry.LOSSES["center"](dim=2, classes=3)})
    assert load_checkpoint(tmp_path, net, optimizer, SCALER, again) == 1
    assert again["center"].centers.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_nothing_there_is_epoch_0_and_says_nothing(tmp_path):
    said = []
    assert load_checkpoint(tmp_path, *make(), SCALER, say=said.append) == 0 and said == []


def test_only_the_last_checkpoint_stays(tmp_path):
    net, optimizer = make()
    for epoch in (1, 2, 3):
        save_checkpoint(tmp_path, epoch, net, optimizer, SCALER)
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["epoch-3.safetensors", "state.json"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: flip(folder / "epoch-1.safetensors"),
        lambda folder: (folder / "epoch-1.safetensors").unlink(),
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.json").write_text("[]"),
        lambda folder: (folder / "state.json").write_text(json.dumps({"epoch": 1})),
    ],
)
def test_a_damaged_checkpoint_is_said_and_changes_nothing(tmp_path, spoil):
    net, optimizer = make()
    learn(net, optimizer, 2, seed=1)
    save_checkpoint(tmp_path, 1, net, optimizer, SCALER)
    spoil(tmp_path / "resume")
    other, fresh = make()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    said = []
    assert load_checkpoint(tmp_path, other, fresh, SCALER, say=said.append) == 0
    assert len(said) == 1 and "damaged" in said[0] and "starts over" in said[0]
    assert all(torch.equal(before[k], v) for k, v in other.state_dict().items())
    assert fresh.state_dict()["state"] == {}


def test_killed_while_writing_the_previous_checkpoint_stands(tmp_path, monkeypatch):
    net, optimizer = make()
    save_checkpoint(tmp_path, 1, net, optimizer, SCALER)
    learn(net, optimizer, 2, seed=1)

    def broken(*args):
        raise OSError("on purpose")

    for name in ("write_text", "write_flushed"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, name, broken)
            with pytest.raises(OSError, match="on purpose"):
                save_checkpoint(tmp_path, 2, net, optimizer, SCALER)
        assert load_checkpoint(tmp_path, *make(), SCALER) == 1


def test_write_flushed_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_flushed(path, b"old")

    def broken(*args):
        raise OSError("on purpose")

    monkeypatch.setattr(checkpoint.os, "replace", broken)
    with pytest.raises(OSError, match="on purpose"):
        write_flushed(path, b"new")
    assert path.read_bytes() == b"old"
