"""Trainings with frozen layers, rates by layer, clipping, drop path, a mean of the weights: what moves; resuming."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from configs.console.progress import Progress
from models import registry
from models.data import augment
from models.training import frozen_features, step, train
from models.training.frozen_features import extract_frozen, load_frozen
from models.training.setup import start
from tests import tiny
from tests.test_train import CPU, Stop, lines, run, same, stop_before_epoch

RESNET = {"name": "resnet", "depth": 26, "base": 8}
ADAMW = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05}
FLIP = [{"name": "flip", "p": 0.5}]
EVERYTHING = {"optimizer": ADAMW, "layer_decay": 0.7, "head_rate": 5, "clip_norm": 0.5, "ema": 0.9, "drop_path": 0.3}


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setitem(registry.BACKBONES, "tiny", tiny.TinyBackbone)


def first(recipe, member, folder):
    """The state before the first step."""
    net = start(member, recipe, 6, folder, None, Progress(quiet=True))
    return net.state_dict()


def moved(folder, recipe, member):
    """Names of what a training changes."""
    after = run(folder, recipe, member)
    return set(same(first(recipe, member, folder), after))


# ------------------------------------------------------------------------------------------------------ stop and go on


@pytest.mark.parametrize(
    ("backbone", "changes"),
    [
        (RESNET, EVERYTHING),
        (RESNET, {"freeze": 2, "optimizer": {"name": "sgd", "lr": 1e-2}}),
        (RESNET, {"head_epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-2}, "ema": 0.9}),
        ({"name": "timm", "model": "test_vit"}, EVERYTHING | {"head_epochs": 1}),
        ("tiny", {"optimizer": ADAMW, "ema": 0.5, "clip_norm": 1.0}),
    ],
    ids=["everything", "frozen", "head-first", "vit", "tiny"],
)
def test_stopped_and_gone_on_with_ends_in_the_same_bits(tmp_path, monkeypatch, backbone, changes):
    recipe, member = tiny.recipe(epochs=3, **changes), tiny.member(backbone=backbone)
    whole = run(tmp_path / "whole", recipe, member)
    for epoch in (1, 2):
        go_on = stop_before_epoch(monkeypatch, epoch)
        with pytest.raises(Stop):
            run(tmp_path / "parts", recipe, member)
        go_on()
    assert same(whole, run(tmp_path / "parts", recipe, member)) == []


def test_a_training_repeats_with_loaders_of_any_number_and_on_the_device(tmp_path):
    """Drop paths by the host's numbers."""
    member = tiny.member(backbone=RESNET)
    one = run(tmp_path / "a", tiny.recipe(drop_path=0.5), member)
    assert same(one, run(tmp_path / "b", tiny.recipe(drop_path=0.5, feed="device"), member)) == []
    assert same(one, run(tmp_path / "c", tiny.recipe(), member)) != []


# --------------------------------------------------------------------------------------------------------- what moves


def test_frozen_stages_keep_every_bit_and_the_rest_moves(tmp_path):
    recipe = tiny.recipe(freeze=2, ema=0.9, optimizer=ADAMW)
    changed = moved(tmp_path, recipe, tiny.member(backbone=RESNET))
    assert not {k for k in changed if k.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1."))}
    assert not {k for k in changed if k.startswith("backbone.layer2.")}
    weights = {"backbone.layer3.0.conv1.weight", "backbone.layer3.0.bn1.running_mean", "head.classifier.weight"}
    assert weights <= changed and "backbone.layer4.1.bn3.weight" in changed


def test_blocks_of_a_transformer_that_are_frozen_keep_every_bit(tmp_path):
    recipe = tiny.recipe(freeze=4, optimizer=ADAMW, drop_path=0.2)
    changed = moved(tmp_path, recipe, tiny.member(backbone={"name": "timm", "model": "test_vit"}))
    assert {k.split(".")[3] for k in changed if ".blocks." in k} == {"4", "5"}
    assert not {k for k in changed if "pos_embed" in k or "cls_token" in k or "patch_embed" in k}


def test_head_first_and_then_the_whole(tmp_path, monkeypatch):
    """Stopped after the epochs of the head: nothing of the backbone has moved, its statistics neither."""
    recipe, member = tiny.recipe(epochs=3, head_epochs=2), tiny.member(backbone=RESNET)
    before = first(recipe, member, tmp_path)
    go_on = stop_before_epoch(monkeypatch, 2)
    with pytest.raises(Stop):
        run(tmp_path / "a", recipe, member)
    (kept,) = (tmp_path / "a" / "resume").glob("*.safetensors")
    kept = {k.removeprefix("net."): v for k, v in load_file(kept).items() if k.startswith("net.")}
    changed = set(same(before, kept))
    assert changed and not {k for k in changed if k.startswith("backbone.")} and "head.classifier.weight" in changed
    go_on()
    after = set(same(before, run(tmp_path / "a", recipe, member)))
    assert {"backbone.conv1.weight", "backbone.bn1.running_mean", "backbone.layer4.1.conv3.weight"} <= after


def test_the_member_is_the_mean_of_its_weights(tmp_path, monkeypatch):
    """The mean over the steps, from what each step left."""
    seen, real = [], step.Step.__call__

    def watched(self, *args):
        real(self, *args)
        seen.append({k: v.detach().clone() for k, v in self.run.net.state_dict().items()})

    monkeypatch.setattr(step.Step, "__call__", watched)
    recipe, member = tiny.recipe(ema=0.7), tiny.member()
    mean = {k: v.double() for k, v in first(recipe, member, tmp_path).items()}
    after = run(tmp_path / "a", recipe, member)
    assert len(seen) > 3
    for n, state in enumerate(seen):
        d = min(0.7, (1 + n) / (10 + n))
        mean = {k: d * mean[k] + (1 - d) * v.double() for k, v in state.items()}
    for k, v in after.items():
        if v.is_floating_point():
            torch.testing.assert_close(v.double(), mean[k], rtol=1e-4, atol=1e-6)
    assert not torch.equal(after["head.classifier.weight"], seen[-1]["head.classifier.weight"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gradient_is_shortened_to_the_norm_and_keeps_its_direction(tmp_path, monkeypatch, precision):
    """Of all parameters together: as the optimizer is given it, against the one before."""
    before, after = [], []
    real = step.Step._clip

    def norm(run):
        return torch.cat([p.grad.flatten() for p in run.net.parameters() if p.grad is not None]).double()

    def watched(self, most):
        before.append(norm(self.run))
        real(self, most)
        after.append(norm(self.run))

    monkeypatch.setattr(step.Step, "_clip", watched)
    run(tmp_path / "a", tiny.recipe(clip_norm=0.05), precision=precision)
    clipped = 0
    for raw, given in zip(before, after, strict=True):
        short = min(1.0, 0.05 / raw.norm().item())
        torch.testing.assert_close(given, raw * short, rtol=1e-4, atol=1e-9)
        clipped += short < 1
    assert clipped and run(tmp_path / "b", tiny.recipe()) and len(before) == len(after) > 2


# ------------------------------------------------------------------------------------------------ a frozen backbone


def frozen(folder, recipe, member, data=None):
    """Features of the frozen backbone, and the folder that holds them."""
    folder.mkdir(exist_ok=True, parents=True)
    net = start(member, recipe, 6, folder, None, Progress(quiet=True))
    how = {"device": CPU, "precision": "float32", "progress": Progress(quiet=True), "what": "x"}
    extract_frozen(net, recipe, (data or tiny.training())[1], folder, **how)
    return folder


def trained_on_features(folder, recipe, member):
    training, images = tiny.training()
    folder.mkdir(exist_ok=True)
    train.train_member(
        member, recipe, training, images, folder, device=CPU, precision="float32", workers=0,
        progress=Progress(quiet=True), pretrained=None, frozen=frozen(folder / "features", recipe, member),
    )  # fmt: skip
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("backbone", "head"),
    [
        (RESNET, "global"),
        (RESNET, {"name": "global", "pool": "gem"}),
        (RESNET, {"name": "mgn", "width": 8}),
        ({"name": "timm", "model": "test_vit"}, {"name": "token"}),
        ({"name": "timm", "model": "test_vit"}, {"name": "token", "patches": "max"}),
        ({"name": "timm", "model": "test_vit"}, {"name": "mgn", "width": 8, "fork": "blocks.5"}),
        ("tiny", "global"),
    ],
    ids=["avg", "gem", "mgn", "token", "token-max", "mgn-of-a-vit", "tiny"],
)
def test_a_head_on_kept_features_learns_what_it_would_on_images(tmp_path, backbone, head):
    """Against the same backbone held, through which every image goes in every epoch, mirrored or not."""
    member = tiny.member(backbone=backbone, head=head)
    how = {"augment": FLIP, "size": [64, 32], "channels_last": False}
    held = tiny.recipe(**how).model_copy(update={"head_epochs": 2})
    want = run(tmp_path / "held", held, member)
    got = trained_on_features(tmp_path / "kept", tiny.recipe(freeze="all", **how), member)
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-3, atol=2e-5, msg=name)
    one, other = ([line["loss"] for line in lines(tmp_path / name)] for name in ("held", "kept"))
    assert one == pytest.approx(other, rel=1e-4) and lines(tmp_path / "kept")[0]["images"] > 0
    changed = same(first(held, member, tmp_path), got)
    assert changed and all(name.startswith("head.") for name in changed)


def test_an_image_is_kept_as_it_is_and_mirrored(tmp_path, monkeypatch):
    """130 images: a batch and a part of one. The map is pooled, since the head's pooling learns nothing."""
    monkeypatch.setattr(frozen_features, "BATCH", 100)
    data, recipe = tiny.training(identities=13, each=10), tiny.recipe(freeze="all", augment=FLIP)
    member = tiny.member(backbone="tiny")
    (kept,) = load_frozen(frozen(tmp_path, recipe, member, data))
    net = start(member, recipe, 6, tmp_path, None, Progress(quiet=True)).eval()
    mean, std = (np.array(x, np.float32) * 255 for x in (augment.MEAN, augment.STD))
    pixels = torch.from_numpy((data[1] - mean) / std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        want = torch.stack([net.backbone(x).mean((2, 3)) for x in (pixels, pixels.flip(3))])
    assert kept.shape == (2, 130, 16, 1, 1)
    np.testing.assert_allclose(kept[..., 0, 0], want, atol=1e-5)
    plain = tiny.recipe(freeze="all", augment=[])
    (alone,) = load_frozen(frozen(tmp_path / "plain", plain, member, data))
    assert alone.shape[0] == 1 and np.abs(kept[0] - kept[1]).max() > 1e-3
    np.testing.assert_array_equal(alone[0], kept[0])


def test_a_learned_pooling_is_given_the_whole_map(tmp_path):
    member, recipe = tiny.member(head={"name": "global", "pool": "gem"}), tiny.recipe(freeze="all", augment=[])
    (kept,) = load_frozen(frozen(tmp_path, recipe, member))
    assert kept.shape == (1, 18, 16, 16, 8)
    assert frozen_features.shapes(member, recipe) == [(16, 16, 8)]


def test_a_head_alone_resumes_to_the_bit(tmp_path, monkeypatch):
    member = tiny.member(backbone=RESNET, head={"name": "mgn", "width": 8})
    recipe = tiny.recipe(epochs=3, freeze="all", augment=FLIP, optimizer=ADAMW, ema=0.9)
    whole = trained_on_features(tmp_path / "whole", recipe, member)
    go_on = stop_before_epoch(monkeypatch, 1)
    with pytest.raises(Stop):
        trained_on_features(tmp_path / "parts", recipe, member)
    go_on()
    assert same(whole, trained_on_features(tmp_path / "parts", recipe, member)) == []


def test_features_and_their_recipe_go_together(tmp_path):
    with pytest.raises(ValueError, match=r"recipe\.freeze is 'all', and features given are None"):
        run(tmp_path, tiny.recipe(freeze="all", augment=[]))


def test_a_frozen_batch_norm_does_not_move_and_a_heads_does(tmp_path):
    changed = moved(tmp_path, tiny.recipe(freeze=4), tiny.member(backbone=RESNET))
    norms = {k for k in changed if k.endswith(("running_mean", "running_var"))}
    assert norms == {"head.neck.running_mean", "head.neck.running_var"}
    assert isinstance(registry.make_net(tiny.member(), 3).head.neck, nn.BatchNorm1d)
