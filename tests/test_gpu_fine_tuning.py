"""On a GPU: layers' rates, clipping, drop path, a mean of the weights and frozen backbones, captured and resumed."""

import pytest
import torch
from safetensors.torch import load_file

from models.training import launch, step, train
from models.training.frozen_features import extract_frozen
from models.training.setup import start
from tests import tiny
from tests.test_gpu_training import CUDA, SMALL, Heard, different, metrics, recipe, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch finds no CUDA device"),
]
EVERYTHING = {
    "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    "layer_decay": 0.7,
    "head_rate": 5,
    "clip_norm": 0.5,
    "ema": 0.9,
    "drop_path": 0.3,
}
SGD = {"optimizer": {"name": "sgd", "lr": 1e-2}, "clip_norm": 1.0, "freeze": 2}
VIT = {"name": "timm", "model": "test_vit"}


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(
    ("backbone", "changes"),
    [(SMALL, EVERYTHING), (SMALL, SGD), (SMALL, EVERYTHING | {"head_epochs": 1}), (VIT, EVERYTHING)],
    ids=["everything", "sgd", "head-first", "vit"],
)
def test_captured_and_piece_by_piece_are_the_same_bits(tmp_path, backbone, changes, precision):
    one, _ = run(tmp_path / "eager", recipe(launch="eager", **changes), backbone, precision=precision)
    two, _ = run(tmp_path / "graph", recipe(launch="graph", **changes), backbone, precision=precision)
    assert different(one, two) == [] and metrics(tmp_path / "eager") == metrics(tmp_path / "graph")


@pytest.mark.parametrize("changes", [EVERYTHING, SGD], ids=["everything", "sgd"])
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # that it does not see every wait
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, changes):
    real, calls = step.Step.__call__, []

    def watched(self, *args):
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(calls) > 1 else "default")
        try:
            real(self, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(step.Step, "__call__", watched)
    run(tmp_path / "a", recipe(launch="eager", **changes))
    assert len(calls) > 3


def test_the_first_epochs_of_the_head_are_a_graph_of_their_own(tmp_path, monkeypatch):
    """And the backbone does not move in them."""
    graphs, real = [], launch.Captured._capture
    monkeypatch.setattr(launch.Captured, "_capture", lambda self, inputs: graphs.append(1) or real(self, inputs))
    data = tiny.training(identities=32, each=8)
    asked = recipe(head_epochs=1, launch="graph", checkpoint_every=1)
    kept = {}
    real_keep = train.Keeper.keep

    def keep(self, point):
        kept[point.epoch] = {k: v.clone() for k, v in self.run.net.state_dict().items()}
        real_keep(self, point)

    monkeypatch.setattr(train.Keeper, "keep", keep)
    run(tmp_path / "a", asked, data=data)
    net = start(tiny.member(backbone=SMALL), asked, 32, tmp_path, None, Heard())
    before = {k: v.to(CUDA) for k, v in net.state_dict().items()}
    assert len(graphs) == 2
    assert not [k for k in different(before, kept[1]) if k.startswith("backbone.")] and different(before, kept[1])
    assert [k for k in different(before, kept[2]) if k.startswith("backbone.")]


class Gone(Exception):
    pass


@pytest.mark.parametrize("at", [4, 6])
def test_a_training_that_died_ends_in_the_same_bits(tmp_path, monkeypatch, at):
    asked = recipe(**EVERYTHING, head_epochs=1)
    whole, _ = run(tmp_path / "whole", asked)
    real, calls = launch.Captured.__call__, []

    def counted(self, inputs):
        calls.append(1)
        if len(calls) == at:
            raise Gone
        real(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(launch.Captured, "__call__", counted)
        with pytest.raises(Gone):
            run(tmp_path / "parts", asked)
    assert different(whole, run(tmp_path / "parts", asked)[0]) == []


@pytest.mark.parametrize("head", ["global", {"name": "mgn", "width": 8}], ids=["global", "mgn"])
def test_a_head_on_kept_features_is_captured_and_learns_what_it_would_on_images(tmp_path, head):
    member, data = tiny.member(backbone=SMALL, head=head), tiny.training()
    how = {"augment": [{"name": "flip"}], "losses": {"id": {}, "triplet": {}}}
    held = recipe(**how, launch="eager").model_copy(update={"head_epochs": 3})
    want, _ = run(tmp_path / "held", held, SMALL, head, precision="float32")
    results = {}
    for way in ("eager", "graph"):
        asked, folder = recipe(**how, freeze="all", launch=way), tmp_path / way
        (folder / "features").mkdir(parents=True)
        net = start(member, asked, 6, folder, None, Heard())
        extract_frozen(
            net, asked, data[1], folder / "features", device=CUDA, precision="float32", progress=Heard(), what="x"
        )
        train.train_member(
            member, asked, *data, folder, device=CUDA, precision="float32", workers=0, progress=Heard(),
            pretrained=None, frozen=folder / "features",
        )  # fmt: skip
        results[way] = load_file(folder / "weights.safetensors")
    assert different(results["eager"], results["graph"]) == []
    for name, value in want.items():
        torch.testing.assert_close(results["graph"][name], value, rtol=1e-2, atol=1e-4, msg=name)
