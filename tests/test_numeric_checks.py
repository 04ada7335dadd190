"""Numbers that go wrong: the member stops, batch and images are named, the last good checkpoint stands."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from configs.console.progress import Progress
from configs.errors import TrainingError
from configs.schema import ComponentConfig
from ensemble.pipeline import run_stages as build_run
from models import registry
from models.net import Output
from models.training import train
from models.training.epoch_metrics import EpochMetrics
from models.training.numeric_checks import COLLAPSED, NonFiniteBatch, collapse_warning, distance_spread
from models.training.tally import Tally
from tests import tiny

CPU = torch.device("cpu")


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


def run(folder, recipe):
    folder.mkdir(exist_ok=True)
    training, images = tiny.training()
    progress = Heard()
    train.train_member(
        tiny.member(), recipe, training, images, folder,
        device=CPU, precision="float32", workers=0, progress=progress, pretrained=None,
    )  # fmt: skip
    return progress.said


def images_of(epoch, batch):
    training, images = tiny.training()
    loader = tiny.epoch_loader(images, training.labels, [], identities=4, per_identity=2, seed=3, epoch=epoch)
    return [training.split.names[i] for i in loader.rows[batch]]


def test_a_gradient_that_is_no_number_while_the_loss_is_one(tmp_path, monkeypatch):
    """The root of 0 is 0 and its slope is not finite: in the first run, from epoch 2, batch 2 on."""
    spoilt = [True]

    def root(**_):
        def loss(output, labels, t):
            nothing = (output.feats * 0).sum()
            return nothing.sqrt() if spoilt[0] and t > 1.5 else nothing

        return loss

    monkeypatch.setitem(registry.LOSSES, "root", root)
    recipe = tiny.recipe(losses=tiny.RECIPE["losses"] | {"root": {}})
    names = ", ".join(images_of(1, 1)[:3])
    message = (
        rf"tiny: \d+ of \d+ gradients are not finite, first that of \S+, in epoch 2, batch 2 of \d+ \(images {names}"
    )
    with pytest.raises(TrainingError, match=message):
        run(tmp_path / "parts", recipe)
    (kept,) = (tmp_path / "parts" / "resume").glob("*.safetensors")
    assert kept.name.startswith("epoch-1-") and all(torch.isfinite(v).all() for v in load_file(kept).values())
    spoilt[0] = False
    run(tmp_path / "parts", recipe)
    run(tmp_path / "whole", recipe)
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("parts", "whole"))
    assert all(torch.equal(one[k], other[k]) for k in one)


def test_weights_that_are_no_numbers_do_not_replace_a_checkpoint(tmp_path, monkeypatch):
    real = train._epoch

    def overshot(loop, point, *rest):
        reached = real(loop, point, *rest)
        if point.epoch == 1:
            with torch.no_grad():
                loop.run.net.backbone[3].weight[0, 0, 0, 0] = torch.nan
        return reached

    monkeypatch.setattr(train, "_epoch", overshot)
    with pytest.raises(TrainingError, match=r"tiny: 1 of \d+ tensors are not finite after epoch 2, first backbone\.3"):
        run(tmp_path / "a", tiny.recipe(epochs=3))
    (kept,) = (tmp_path / "a" / "resume").glob("*.safetensors")
    assert kept.name.startswith("epoch-1-")
    assert len((tmp_path / "a" / "epochs.jsonl").read_text().splitlines()) == 1


def output(feats):
    return Output(feats, feats, ())


def tallied(feats, terms, net=None, batch=3, value=None):
    """What a tally has to say after one batch, number `batch`, of these features and losses."""
    tally = Tally(tuple(terms), len(feats), net or torch.nn.Linear(1, 1), CPU)
    total = torch.stack(list(terms.values())).sum() if value is None else torch.tensor(value)
    seen = tally.add(output(feats), torch.zeros(len(feats)), terms, total)
    tally.judge(torch.tensor(float(batch)), seen, gradients=net is not None)
    return tally, tally.look(EpochMetrics(1))


def test_the_images_whose_features_are_no_numbers_are_named():
    feats = torch.ones(6, 4)
    feats[1, 2], feats[4, 0] = torch.nan, torch.inf
    _, broken = tallied(feats, {"id": torch.tensor(1.0)})
    assert broken == NonFiniteBatch(3, "the features of 2 of 6 images are not finite", (1, 4))
    said = broken.message("r50", tiny.recipe(), [f"{c}.jpg" for c in "abcdef"], 0, 9)
    assert "(images b.jpg, e.jpg)" in said and "epoch 1, batch 4 of 9" in said and "lr=0.0001)" in said


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_loss_that_is_no_number_is_named(value):
    _, broken = tallied(torch.ones(2, 4), {"id": torch.tensor(1.0), "triplet": torch.tensor(value)})
    assert broken.what == "the loss is not a finite number (triplet)" and broken.places == ()
    _, broken = tallied(torch.ones(2, 4), {"id": torch.tensor(1.0)}, value=torch.inf)
    assert broken.what == "the loss is not a finite number (the sum)"
    assert tallied(torch.ones(2, 4), {"id": torch.tensor(1.0)})[1] is None


@pytest.mark.parametrize(("value", "said"), [(torch.inf, "1 of 2 gradients"), (1e30, "so large that their squares")])
def test_gradients_without_bound(value, said):
    net = torch.nn.Linear(2, 2)
    net(torch.ones(1, 2)).sum().backward()
    assert tallied(torch.ones(2, 4), {"id": torch.tensor(1.0)}, net)[1] is None
    net.bias.grad[1] = value
    assert said in tallied(torch.ones(2, 4), {"id": torch.tensor(1.0)}, net)[1].what


def test_the_first_broken_batch_is_the_one_that_is_told_and_nothing_is_learned_after_it():
    """Batches 0 to 3, of which 1 and 3 are broken; looked at after the last."""
    tally, one = Tally(("id",), 2, torch.nn.Linear(1, 1), CPU), torch.tensor(1.0)
    skipped = []
    for batch, feats in enumerate((torch.ones(2, 4), torch.full((2, 4), torch.nan), torch.ones(2, 4))):
        seen = tally.add(output(feats), torch.zeros(2), {"id": one}, one)
        skipped.append(tally.judge(torch.tensor(float(batch)), seen, gradients=False).item())
    seen = tally.add(output(torch.ones(2, 4)), torch.zeros(2), {"id": one * torch.inf}, one * torch.inf)
    tally.judge(torch.tensor(3.0), seen, gradients=False)
    assert skipped == [False, True, True]
    assert tally.look(EpochMetrics(1)) == NonFiniteBatch(1, "the features of 2 of 2 images are not finite", (0, 1))


@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_every_optimizer_passes_over_a_batch_that_is_found_to_be_broken(name):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = registry.make(registry.OPTIMIZERS, "optimizer", ComponentConfig(name=name, lr=0.1), params=[weight])
    states = []
    for found in (0.0, 1.0):
        optimizer.found_inf, weight.grad = torch.tensor(found), torch.full((3,), 1 + found)
        optimizer.step()
        states.append({"weight": weight.detach().clone()} | {k: v.clone() for k, v in optimizer.state[weight].items()})
    one, two = states
    assert all(torch.equal(one[k], two[k]) for k in two) and not torch.equal(one["weight"], torch.ones(3))


# ---------------------------------------------------------------------------------------------------------- collapsed


class Dead(tiny.TinyBackbone):
    """A backbone that gives the same for every image: its last norm is 0, and a ReLU keeps it so."""

    def __init__(self):
        super().__init__()
        torch.nn.init.zeros_(self[4].weight)
        torch.nn.init.constant_(self[4].bias, -1.0)


def metrics(folder):
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def test_collapsed_features_are_told_once_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", Dead)
    said = run(tmp_path / "a", tiny.recipe(epochs=3))
    warnings = [text for text in said if "collapsed" in text]
    assert len(warnings) == 1
    assert "tiny: WARNING" in warnings[0] and "epoch 1" in warnings[0] and "margin=soft" in warnings[0]
    for line in metrics(tmp_path / "a"):
        assert line["apart"] < COLLAPSED and line["terms"]["triplet"] == pytest.approx(0.3)


def test_features_that_tell_apart_are_not_warned_of(tmp_path):
    said = run(tmp_path / "a", tiny.recipe())
    assert not [text for text in said if "collapsed" in text]
    assert all(line["apart"] > 10 * COLLAPSED for line in metrics(tmp_path / "a"))


def test_distances_apart_by_hand():
    """Three unit vectors at 0, 60 and 90 degrees: distances 1/2, 1 and 1 - cos 30."""
    feats = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5], [0.0, 2.0]])
    assert distance_spread(output(feats)) == pytest.approx(1 - (1 - 0.75**0.5))
    assert distance_spread(output(torch.eye(5))) == 0  # all as far from each other: as much a collapse as one point
    assert collapse_warning("r50", 0.5, 1) is None


# ---------------------------------------------------------------------------------------------- the rest of the build


def test_the_other_members_are_trained_and_the_build_says_whose_numbers_went_wrong(monkeypatch):
    trained, progress = [], Heard()

    def train_one(context, plan, member):
        if member.name == "a":
            raise TrainingError("a: the loss is not a finite number")
        trained.append(member.name)

    monkeypatch.setattr(build_run, "train", train_one)
    monkeypatch.setattr(build_run, "member_features_address", lambda *_: None)
    monkeypatch.setattr(build_run, "images_needed", lambda *_: [])
    members = [SimpleNamespace(name=name) for name in "abc"]
    context = SimpleNamespace(
        config=SimpleNamespace(members=members),
        store=SimpleNamespace(has=lambda _: False),
        progress=progress,
        parallel=1,
    )
    with pytest.raises(TrainingError, match=r"^a: the loss is not a finite number$"):
        plan = SimpleNamespace(tests={"test": None}, outside={}, members=dict.fromkeys("abc"))
        build_run.run_stages(context, plan)
    assert trained == ["b", "c"]
    assert "a failed" in progress.said[0]
