"""A training on a device as it is on a GPU, but on this CPU: batched pixels, looks every few steps, skipped steps."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from configs.console.signals import Stopped
from configs.errors import ConfigError, TrainingError
from models import registry
from models.distributed.process_group import ProcessGroup
from models.training import launch, step, tally
from models.training.launch import Captured, choose_launch
from tests import tiny
from tests.test_train import run, same

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CENTRES = {"id": {}, "triplet": {"start": 0.1}, "center": {"weight": 5e-4}}
EXACT = [{"name": "flip"}, {"name": "pad_crop", "pad": 4}, {"name": "erase"}]


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def looks(monkeypatch, every):
    monkeypatch.setitem(tally.LOOK, "cpu", every)


def recipe(**changes):
    return tiny.recipe(**({"feed": "device", "losses": CENTRES, "augment": EXACT} | changes))


def metrics(folder):
    return [json.loads(line) | {"seconds": 0} for line in (folder / "epochs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_and_metrics_are_those_of_a_loader_looked_at_each_step(tmp_path, monkeypatch, every, precision):
    want = run(tmp_path / "loader", recipe(feed="loader"), precision=precision)
    looks(monkeypatch, every)
    assert same(want, run(tmp_path / "device", recipe(), precision=precision)) == []
    assert metrics(tmp_path / "loader") == metrics(tmp_path / "device")


def batches():
    training, images = tiny.training()
    return len(tiny.epoch_loader(images, training.labels, [], identities=4, per_identity=2, seed=3, epoch=1))


def test_a_signal_between_two_looks_loses_nothing(tmp_path, monkeypatch):
    whole, seen, real, each = run(tmp_path / "whole", recipe()), [], step.normalise, batches()
    looks(monkeypatch, 100)

    def counted(raw, *args, **kwargs):
        seen.append(1)
        if len(seen) == each + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(raw, *args, **kwargs)

    monkeypatch.setattr(step, "normalise", counted)
    with pytest.raises(Stopped, match="after epoch 1 and 1 batches"):
        run(tmp_path / "parts", recipe())
    assert same(whole, run(tmp_path / "parts", recipe())) == [] and len(seen) == 2 * each
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("every", [1, 100])
def test_nothing_learns_from_a_broken_batch_nor_after_it(tmp_path, monkeypatch, every, scaled):
    """Batch 1 of the second epoch is of NaN. Weights, moments, steps and centres are those of before it, and told.

    scaled: with a gradient scaler, as float16 has on a GPU.
    """
    looks(monkeypatch, every)
    real_scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda kind, enabled: real_scaler("cpu", 64.0, enabled=scaled))
    seen, real, states, each = [], step.normalise, [], batches()
    assert each >= 3

    def state(run):
        slots = [v.clone() for s in run.optimizer.state.values() for v in s.values()]
        return [p.detach().clone() for p in run.net.parameters()] + slots + [v.clone() for v in run.learned.buffers()]

    def broken(raw, *args, **kwargs):
        seen.append(1)
        batch = real(raw, *args, **kwargs)
        return batch * float("nan") if len(seen) == each + 2 else batch

    original = step.Step.__call__

    def watched(self, *args):
        original(self, *args)
        states.append(state(self.run))

    monkeypatch.setattr(step, "normalise", broken)
    monkeypatch.setattr(step.Step, "__call__", watched)
    names = [f"{i:04d}.png" for i in rows(1)[1][:3]]
    with pytest.raises(TrainingError, match=rf"epoch 2, batch 2 of {each} \(images {', '.join(names)}"):
        run(tmp_path / "a", recipe())
    assert len(states) == (each + 2 if every == 1 else 2 * each)
    before = states[each]
    for after in states[each + 1 :]:
        assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    (checkpoint,) = (tmp_path / "a" / "resume").glob("*.safetensors")
    assert checkpoint.name == "epoch-1-0.safetensors"
    seen[:] = [1] * 1000
    assert same(run(tmp_path / "whole", recipe()), run(tmp_path / "a", recipe())) == []


def test_no_checkpoint_is_made_after_a_broken_batch(tmp_path, monkeypatch):
    """One is overdue after every batch, and nobody would look before the epoch's end: a look comes before each."""
    looks(monkeypatch, 100)
    seen, real = [], step.normalise

    def broken(raw, *args, **kwargs):
        seen.append(1)
        batch = real(raw, *args, **kwargs)
        return batch * float("nan") if len(seen) == 2 else batch

    monkeypatch.setattr(step, "normalise", broken)
    with pytest.raises(TrainingError, match=r"features of 8 of 8 images are not finite in epoch 1, batch 2 of"):
        run(tmp_path / "a", recipe(checkpoint_every=None, checkpoint_minutes=1e-9))
    (kept,) = (tmp_path / "a" / "resume").glob("*.safetensors")
    assert kept.name == "epoch-0-1.safetensors" and all(torch.isfinite(v).all() for v in load_file(kept).values())


def rows(epoch):
    training, images = tiny.training()
    return tiny.epoch_loader(images, training.labels, [], identities=4, per_identity=2, seed=3, epoch=epoch).rows


def test_gradients_that_are_no_numbers_are_told_after_others_have_come(tmp_path, monkeypatch):
    """The root of 0 has no slope: in the first batch alone; looked at after the last of the epoch."""
    looks(monkeypatch, 100)

    def root(**_):
        def loss(output, labels, t):
            nothing = (output.feats * 0).sum()
            return torch.where(t < 0.4, nothing, nothing + 1).sqrt()

        return loss

    monkeypatch.setitem(registry.LOSSES, "root", root)
    with pytest.raises(
        TrainingError, match=r"\d+ of \d+ gradients are not finite, first that of \S+, in epoch 1, batch 1 "
    ):
        run(tmp_path / "a", recipe(losses=tiny.RECIPE["losses"] | {"root": {}}))


# --------------------------------------------------------------------------------------------------------------- launch


def test_how_a_step_is_launched_and_what_is_said():
    said = []
    for asked, device, how in (("auto", CPU, "eager"), ("eager", CUDA, "eager"), ("auto", CUDA, "auto"),
                               ("graph", CUDA, "graph"), ("compile", CPU, "compile")):  # fmt: skip
        assert choose_launch(asked, device, ProcessGroup(), said.append) == how
    assert said == []
    assert choose_launch("auto", CUDA, ProcessGroup(0, 2), said.append) == "eager"
    assert len(said) == 1 and "not captured as a CUDA graph: 2 processes exchange messages" in said[0]


@pytest.mark.parametrize(("device", "team"), [(CPU, ProcessGroup()), (CUDA, ProcessGroup(0, 2))])
def test_a_graph_that_cannot_be_is_refused(device, team):
    with pytest.raises(ConfigError, match=r"recipe\.launch graph: .*--set recipe\.launch=auto"):
        choose_launch("graph", device, team, print)


class Recorder:
    """Stands in for a CUDA graph: what is captured is done at each replay."""

    def __init__(self):
        self.captured = 0
        self.body = None

    def replay(self):
        self.body()


def test_every_step_is_made_once_and_of_its_own_inputs(monkeypatch):
    """Three piece by piece, the capture does none, each replay one; with the graph and stream of a GPU stood in for."""
    done, capturing, graph = [], [], Recorder()

    def body(inputs):
        if capturing:
            graph.body = lambda: done.append(int(inputs[0]))
        else:
            done.append(int(inputs[0]))

    class Capture:
        def __init__(self, *args, **kwargs):
            assert kwargs["capture_error_mode"] == "thread_local"

        def __enter__(self):
            capturing.append(1)

        def __exit__(self, *_):
            capturing.clear()

    monkeypatch.setattr(launch.torch.cuda, "CUDAGraph", lambda: graph)
    monkeypatch.setattr(launch.torch.cuda, "graph", Capture)
    monkeypatch.setattr(launch.torch.cuda, "current_stream", lambda: None)
    one, value = Captured(body, print), torch.zeros(())
    for i in range(8):
        value.fill_(i)
        one([value])
    assert done == list(range(8))


def test_a_step_that_cannot_be_captured_is_said_and_made_all_the_same(monkeypatch):
    done, said = [], []

    class Capture:
        def __init__(self, *args, **kwargs):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(launch.torch.cuda, "CUDAGraph", Recorder)
    monkeypatch.setattr(launch.torch.cuda, "graph", Capture)
    monkeypatch.setattr(launch.torch.cuda, "current_stream", lambda: None)
    one = Captured(lambda inputs: done.append(int(inputs[0])), said.append)
    for i in range(6):
        one([torch.tensor(i)])
    assert done == list(range(6))
    assert said == ["  steps cannot be captured as a CUDA graph: operation not permitted when stream "
                    "is capturing"]  # fmt: skip
    must = Captured(lambda inputs: None, None)
    with pytest.raises(ConfigError, match=r"cannot be captured \(operation not permitted .*--set recipe\.launch=eager"):
        for i in range(4):
            must([torch.tensor(i)])


def test_an_unknown_launch_is_refused_by_its_name():
    with pytest.raises(ValueError, match="launch"):
        tiny.recipe(launch="fast")
