"""Training and extraction on a GPU: every promise that the CPU's tests hold, where there is one."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from configs.console.progress import Progress
from configs.console.signals import Stopped
from configs.errors import TrainingError
from models import registry
from models.data import feed
from models.distributed.data_parallel import distributed
from models.extraction import extract as extraction
from models.extraction.extract import extract
from models.extraction.views import make_views
from models.training import launch, step, train
from models.training import setup as run_module
from tests import tiny
from tests.test_augment_batch import EVERY, LEVELS, as_batch, make, one_by_one, pictures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch finds no CUDA device"),
]
CUDA, ROOT = torch.device("cuda"), Path(__file__).parent.parent
CENTRES = {"id": {}, "triplet": {"start": 0.1}, "center": {"weight": 5e-4}}
SMALL = {"name": "resnet", "width_per_group": 8}


class Heard(Progress):
    """A progress that keeps what was said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def recipe(**changes):
    return tiny.recipe(**({"losses": CENTRES, "epochs": 3} | changes))


def run(folder, asked, backbone=SMALL, head="global", precision="bfloat16", data=None):
    """Weights and what was said."""
    folder.mkdir(exist_ok=True)
    training, images = data or tiny.training()
    progress = Heard()
    train.train_member(
        tiny.member(backbone=backbone, head=head), asked, training, images, folder,
        device=CUDA, precision=precision, workers=0, progress=progress, pretrained=None,
    )  # fmt: skip
    return load_file(folder / "weights.safetensors"), progress.said


def different(one, other):
    assert one.keys() == other.keys()
    return [k for k in one if not torch.equal(one[k], other[k])]


def metrics(folder):
    return [json.loads(line) | {"seconds": 0} for line in (folder / "epochs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_batch_on_the_device_is_what_the_host_makes_of_one_image_after_another(name, options):
    images = pictures()
    augment, places = make(name, options, images), range(100, 160)
    want = one_by_one(images, [augment], 3, 7, places)
    got = as_batch(images, [augment], 3, 7, places, device="cuda")
    assert np.abs(got.astype(int) - want).max() <= LEVELS.get(name, 0)


# ------------------------------------------------------------------------------------------------------------ the step


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
def test_captured_and_piece_by_piece_are_the_same_bits(tmp_path, precision):
    one, _ = run(tmp_path / "eager", recipe(launch="eager"), precision=precision)
    two, said = run(tmp_path / "graph", recipe(launch="graph"), precision=precision)
    assert different(one, two) == [] and metrics(tmp_path / "eager") == metrics(tmp_path / "graph")
    assert not [text for text in said if "piece by piece" in text]


def test_every_loss_captured_and_piece_by_piece_is_the_same_bits(tmp_path):
    asked = {"losses": {name: {} for name in registry.LOSSES}, "classifier": {"name": "cosine", "centers": 2}}
    asked["losses"] |= {"arcface": {"least": 0.1}}
    one, two = (run(tmp_path / how, recipe(launch=how, **asked))[0] for how in ("eager", "graph"))
    assert different(one, two) == []


def test_auto_captures_and_says_nothing_of_pieces(tmp_path, monkeypatch):
    replayed, real = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: replayed.append(1) or real(self))
    _, said = run(tmp_path / "a", recipe())
    steps = sum(line["images"] for line in metrics(tmp_path / "a")) // 8
    assert len(replayed) == steps - launch.EAGER_STEPS > 0 and not [text for text in said if "piece" in text]


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        (SMALL | {"ibn": "a", "se": True}, "global"),
        (SMALL | {"ibn": "b"}, {"name": "global", "pool": "gem"}),
        (SMALL | {"groups": 2}, {"name": "mgn", "width": 16}),
        (SMALL, {"name": "mgn_grid", "width": 16}),
        (SMALL, {"name": "rmgl", "width": 16}),
    ],
    ids=str,
)
def test_every_kind_of_member_is_captured_and_repeats_to_the_bit(tmp_path, backbone, head):
    data, asked = tiny.training(size=(128, 64)), recipe(size=[128, 64], launch="graph", epochs=2)
    one, two = (run(tmp_path / name, asked, backbone, head, data=data)[0] for name in "ab")
    assert different(one, two) == []


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # that it does not see every wait
def test_no_step_waits_for_the_device(tmp_path, monkeypatch):
    """torch raises at every wait inside; the first step may make constants."""
    real, calls = step.Step.__call__, []

    def watched(self, *args):
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(calls) > 1 else "default")
        try:
            real(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(step.Step, "__call__", watched)
    run(tmp_path / "a", recipe(launch="eager"))
    assert len(calls) > 3


@pytest.mark.parametrize("how", ["graph", "eager"])
def test_a_broken_batch_is_skipped_and_told_and_the_rest_is_as_if_it_had_not_been(tmp_path, monkeypatch, how):
    """A loss that is no number in the second batch of the second epoch, in the first run alone."""
    spoilt = [True]

    def bad(**_):
        def loss(output, labels, t):
            value = (output.feats * 0).sum()
            return torch.where((t > 1.4) & (t < 1.9), value + torch.nan, value) if spoilt[0] else value

        return loss

    monkeypatch.setitem(registry.LOSSES, "bad", bad)
    training, images = tiny.training()
    rows = tiny.epoch_loader(images, training.labels, [], identities=4, per_identity=2, seed=3, epoch=1).rows
    first = next(b for b in range(len(rows)) if 1.4 < 1 + (b + 1) / len(rows) < 1.9)
    asked = recipe(losses=CENTRES | {"bad": {}}, launch=how)
    names = ", ".join(training.split.names[i] for i in rows[first][:3])
    told = rf"the loss is not a finite number \(bad\) in epoch 2, batch {first + 1} of {len(rows)} \(images {names}"
    with pytest.raises(TrainingError, match=told):
        run(tmp_path / "parts", asked)
    (kept,) = (tmp_path / "parts" / "resume").glob("*.safetensors")
    assert kept.name == "epoch-1-0.safetensors" and all(torch.isfinite(v).all() for v in load_file(kept).values())
    spoilt[0] = False
    assert different(run(tmp_path / "whole", asked)[0], run(tmp_path / "parts", asked)[0]) == []


# ------------------------------------------------------------------------------------------------------ stop and go on


RESUMED = """
    import sys
    from pathlib import Path
    import torch
    from configs.console.progress import Progress
    from models.training import train
    from tests import tiny
    from tests.test_gpu_training import full
    member, recipe, data = full()
    train.train_member(member, recipe, *data, Path(sys.argv[1]), device=torch.device("cuda"), precision="bfloat16",
        workers=0, progress=Progress(quiet=True), pretrained=None)
"""


def full():
    """ResNet-50 at 128x64, 4 batches of 64 an epoch."""
    member = tiny.member(backbone={"name": "resnet"})
    asked = recipe(size=[128, 64], identities_per_batch=16, images_per_identity=4, checkpoint_every=5)
    return member, asked, tiny.training(identities=32, each=8, size=(128, 64))


def test_stopped_and_gone_on_with_by_another_process_ends_in_the_same_bits(tmp_path, monkeypatch):
    """A signal in the second batch of the second epoch; what is left is done by a process of its own."""
    member, asked, data = full()
    backbone = member.backbone.model_dump()
    whole, _ = run(tmp_path / "whole", asked, backbone, data=data)
    real, calls = launch.Captured.__call__, []

    def counted(self, inputs):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        real(self, inputs)

    monkeypatch.setattr(launch.Captured, "__call__", counted)
    with pytest.raises(Stopped, match="saved after epoch 1 and 2 batches"):
        run(tmp_path / "parts", asked, backbone, data=data)
    argv = [sys.executable, "-c", textwrap.dedent(RESUMED), str(tmp_path / "parts")]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert different(whole, load_file(tmp_path / "parts" / "weights.safetensors")) == []
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


def test_checkpoints_at_every_look_change_nothing_and_are_gone_on_from(tmp_path, monkeypatch):
    whole, _ = run(tmp_path / "whole", recipe())
    often = recipe(checkpoint_every=None, checkpoint_minutes=1e-9)

    class Gone(Exception):
        pass

    real, calls = launch.Captured.__call__, []

    def counted(self, inputs):
        calls.append(1)
        if len(calls) == 6:
            raise Gone
        real(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(launch.Captured, "__call__", counted)
        with pytest.raises(Gone):
            run(tmp_path / "parts", often)
    assert len(list((tmp_path / "parts" / "resume").glob("*.safetensors"))) == 1
    assert different(whole, run(tmp_path / "parts", often)[0]) == []
    assert different(whole, run(tmp_path / "often", often)[0]) == []


# ---------------------------------------------------------------------------------------------------------- the images


def test_images_that_do_not_fit_are_copied_ahead_and_the_weights_are_the_same(tmp_path, monkeypatch):
    one, _ = run(tmp_path / "resident", recipe())
    monkeypatch.setattr(feed, "SHARE", 0.0)
    two, said = run(tmp_path / "copied", recipe())
    assert different(one, two) == [] and any("stay in the host's memory" in text for text in said)


def test_a_loader_gives_the_same_weights_where_pixels_are_exact(tmp_path):
    one, _ = run(tmp_path / "device", recipe())
    two, _ = run(tmp_path / "loader", recipe(feed="loader"))
    assert different(one, two) == []


# -------------------------------------------------------------------------------------------------- processes together


@pytest.mark.filterwarnings("default")  # of torch's process groups
def test_one_process_of_a_team_over_nccl_trains_as_one_alone(tmp_path, monkeypatch):
    alone, _ = run(tmp_path / "alone", recipe(launch="eager"))

    monkeypatch.setattr(run_module, "spread", lambda net, team, device: distributed(net, device))
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        together, _ = run(tmp_path / "together", recipe(launch="eager"))
    finally:
        dist.destroy_process_group()
    for name, value in alone.items():
        torch.testing.assert_close(together[name].float(), value.float(), rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- extraction


def features(net, images, precision="bfloat16", **changes):
    names = tuple(f"{i}.jpg" for i in range(len(images)))
    return extract(
        net, images, names, views=make_views((), True), channels_last=True, device=CUDA, precision=precision,
        progress=Progress(quiet=True), **changes,
    )  # fmt: skip


@pytest.fixture
def shards_of_128(monkeypatch):
    monkeypatch.setattr(extraction, "SHARD", 128)
    monkeypatch.setattr(extraction, "GPU_BATCH", 32)


@pytest.mark.usefixtures("shards_of_128")
@pytest.mark.parametrize("options", [{}, {"groups": 32, "width_per_group": 4}, {"ibn": "a", "se": True}, {"ibn": "b"}])
def test_fused_convolutions_give_the_features_of_plain_ones(monkeypatch, options):
    """300 pictures: two shards and a part of one, the last batch filled up; against float32 too."""
    torch.manual_seed(0)
    net = tiny.unsettle(registry.make_net(tiny.member(backbone={"name": "resnet"} | options), 4)).eval()
    images = tiny.training(identities=30, each=10, size=(128, 64))[1]
    fused = features(net, images)
    monkeypatch.setattr(extraction, "fuse", lambda net: net)
    plain = features(net, images)
    exact = features(net.cuda(), images, precision="float32")
    assert fused.shape == (300, 2048)
    assert (fused * plain).sum(1).min() > 0.999 and (fused * exact).sum(1).min() > 0.995


@pytest.mark.usefixtures("shards_of_128")
def test_an_extraction_that_was_stopped_ends_in_the_same_bits(tmp_path, monkeypatch):
    torch.manual_seed(0)
    net = tiny.unsettle(registry.make_net(tiny.member(backbone=SMALL), 4)).eval()
    images = tiny.training(identities=30, each=20)[1]
    want, real, calls = features(net, images), launch.Captured.__call__, []

    class Gone(Exception):
        pass

    def counted(self, inputs):
        calls.append(1)
        if len(calls) == 15:
            raise Gone
        real(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(launch.Captured, "__call__", counted)
        with pytest.raises(Gone):
            features(net, images, keep=tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 2
    np.testing.assert_array_equal(features(net, images, keep=tmp_path), want)
    monkeypatch.setattr(extraction, "make_launch", lambda body, *rest: body)
    np.testing.assert_array_equal(features(net, images), want)
