"""Checkpoints while a training goes on: by epochs, by minutes, by a thread whose errors are not lost."""

import json
import threading
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import TrainingError
from models import registry
from models.training import keeper as module
from models.training import step
from models.training.checkpoint import Snapshot, load_checkpoint
from models.training.epoch_metrics import TrainingPosition
from models.training.keeper import Keeper
from tests import tiny
from tests.test_train import run, same


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def make(tmp_path, leads=True, **changes):
    net = tiny.TinyBackbone()
    optimizer = registry.OPTIMIZERS["adam"](params=net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    team = SimpleNamespace(is_leader=leads)
    state = {"net": net, "optimizer": optimizer, "scaler": scaler, "learned": torch.nn.ModuleDict(), "team": team}
    return Keeper(SimpleNamespace(recipe=tiny.recipe(**changes), **state), "tiny", tmp_path)


def kept(folder):
    return [p.name for p in (folder / "resume").glob("*.safetensors")]


def test_due_by_epochs_by_minutes_or_by_both(tmp_path, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    by_epochs = make(tmp_path, checkpoint_every=3)
    assert [e for e in range(1, 10) if by_epochs.due(TrainingPosition(e))] == [3, 6, 9] and not by_epochs.overdue
    by_minutes = make(tmp_path, checkpoint_every=None, checkpoint_minutes=2)
    assert not by_minutes.due(TrainingPosition(3)) and not by_minutes.overdue
    clock[0] += 119
    assert not by_minutes.overdue
    clock[0] += 1
    assert by_minutes.overdue and not by_epochs.overdue
    with by_minutes:
        by_minutes.keep(TrainingPosition(1))
    assert not by_minutes.overdue
    clock[0] += 120
    assert by_minutes.overdue


def test_the_scale_of_gradients_is_kept_too(tmp_path):
    keeper = make(tmp_path)
    keeper.run.scaler = torch.amp.GradScaler("cpu", 512.0)
    with keeper:
        keeper.keep(TrainingPosition(1))
    fresh, run = torch.amp.GradScaler("cpu", 8.0), keeper.run
    assert load_checkpoint(tmp_path, run.net, run.optimizer, fresh) == TrainingPosition(1) and fresh.get_scale() == 512


def test_training_may_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is kept is the state as it was asked for, not as it is when the thread comes to write it."""
    go, real = threading.Event(), Snapshot.write

    def waited(self, folder):
        assert go.wait(20)
        real(self, folder)

    monkeypatch.setattr(Snapshot, "write", waited)
    keeper = make(tmp_path)
    with keeper:
        before = {k: v.clone() for k, v in keeper.run.net.state_dict().items()}
        keeper.keep(TrainingPosition(1))
        with torch.no_grad():
            for p in keeper.run.net.parameters():
                p.add_(1)
        assert kept(tmp_path) == []
        go.set()
        keeper.wait()
        assert kept(tmp_path) == ["epoch-1-0.safetensors"]
    state = load_file(tmp_path / "resume" / "epoch-1-0.safetensors")
    assert all(torch.equal(state[f"net.{k}"], v) for k, v in before.items())


def test_an_error_of_the_thread_is_raised_where_the_next_thing_is_kept(tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", full)
    for later in (lambda k: k.keep(TrainingPosition(2)), lambda k: k.wait()):
        with make(tmp_path) as keeper, pytest.raises(OSError, match="No space left"):
            keeper.keep(TrainingPosition(1))
            later(keeper)
    with make(tmp_path) as keeper, pytest.raises(OSError, match="No space left"):
        keeper.keep(TrainingPosition(1))
        keeper.writing[0].exception()  # waits for it
        keeper.measured(TrainingPosition(1))


def test_a_full_disk_ends_the_training_with_its_error(tmp_path, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path / "a", tiny.recipe())
    assert not (tmp_path / "a" / "weights.safetensors").exists()


def test_weights_that_are_no_numbers_are_not_kept(tmp_path):
    with make(tmp_path) as keeper:
        with torch.no_grad():
            keeper.run.net[0].weight[0, 0, 0, 0] = torch.nan
        with pytest.raises(TrainingError, match=r"1 of \d+ tensors are not finite after epoch 1, first 0\.weight"):
            keeper.keep(TrainingPosition(1))
    assert not (tmp_path / "resume").exists()


def test_only_the_process_that_leads_writes(tmp_path):
    with make(tmp_path, leads=False) as keeper:
        keeper.keep(TrainingPosition(1))
        keeper.measured(TrainingPosition(1, lines=("{}",)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("batch", "name"), [(1, "epoch-1-0.safetensors"), (2, "epoch-1-1.safetensors")])
def test_a_checkpoint_by_minutes_is_gone_on_from_to_the_same_bits(tmp_path, monkeypatch, batch, name):
    """Minutes are over at every look; the process is gone in a batch of the second epoch."""

    class Gone(Exception):
        pass

    recipe = tiny.recipe(checkpoint_every=None, checkpoint_minutes=1e-9)
    whole, seen, real = run(tmp_path / "whole", recipe), [], step.normalise
    batches = len(tiny.epoch_loader(*arrays(), [], identities=4, per_identity=2, seed=3, epoch=0))

    def counted(raw, *args, **kwargs):
        seen.append(1)
        if len(seen) == batches + batch:
            raise Gone
        return real(raw, *args, **kwargs)

    monkeypatch.setattr(step, "normalise", counted)
    with pytest.raises(Gone):
        run(tmp_path / "parts", recipe)
    assert kept(tmp_path / "parts") == [name]
    assert same(whole, run(tmp_path / "parts", recipe)) == []
    one, two = (
        [json.loads(x) for x in (tmp_path / n / "epochs.jsonl").read_text().splitlines()] for n in ("whole", "parts")
    )
    assert [{**x, "seconds": 0} for x in one] == [{**x, "seconds": 0} for x in two]


def arrays():
    training, images = tiny.training()
    return images, training.labels


def test_no_checkpoint_at_all_is_refused():
    with pytest.raises(ValueError, match=r"checkpoint_every and checkpoint_minutes are both null"):
        tiny.recipe(checkpoint_every=None)
