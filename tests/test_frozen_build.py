"""A member on a frozen backbone, as a build makes it: extracted once, planned, costed, and refused."""

import shlex

import pytest
import torch
from safetensors.torch import save_file

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.store.store import Address
from ensemble import build
from ensemble.planning import build_cost
from ensemble.results import cache_keys
from models.registry import make_net
from models.training import frozen_features
from models.training.frozen_features import load_frozen
from tests import tiny
from tests.conftest import TINY

BACKBONE = {"name": "resnet", "depth": 26, "base": 8}
ROW = "{backbone: {name: resnet, depth: 26, base: 8}, head: {name: mgn, width: 8}, weights: {file: FILE}}"
FROZEN = shlex.split("--recipe frozen --set recipe.pretrained=true")


@pytest.fixture
def argv(people, tmp_path):
    """Of a build of one member on a frozen backbone, whose weights are in a file."""
    torch.manual_seed(0)
    save_file(make_net(tiny.member(backbone=BACKBONE), 2).backbone.state_dict(), tmp_path / "trunk.safetensors")
    row = ROW.replace("FILE", str(tmp_path / "trunk.safetensors"))
    own = ["--members", "f", "--data", str(people), "--out", str(tmp_path / "runs"), "--set", f"members.f={row}"]
    return [*own, *TINY, *FROZEN]


def test_features_are_extracted_once_for_every_head_that_is_trained_on_them(argv, tmp_path, monkeypatch):
    calls, real = [], frozen_features.extract_frozen
    monkeypatch.setattr(frozen_features, "extract_frozen", lambda *args, **how: calls.append(1) or real(*args, **how))
    build.main(argv)
    assert len(calls) == 1 and len(list((tmp_path / "runs" / "members").glob("f-*"))) == 1
    (folder,) = (tmp_path / "runs" / "frozen").glob("train-*")
    build.main([*argv, "--set", "recipe.optimizer.lr=1e-2"])
    build.main([*argv, "--set", "recipe.epochs=3", "--set", "recipe.ema=0.9"])
    assert len(calls) == 1 and len(list((tmp_path / "runs" / "members").glob("f-*"))) == 3
    assert [x.shape[0] for x in load_frozen(folder)] == [2, 2]  # the map, and what a branch's blocks begin with
    build.main([*argv, "--set", "recipe.augment=[]"])
    assert len(calls) == 2


def test_the_plan_says_what_they_take_on_the_disk(argv, tmp_path, monkeypatch):
    seen, real = [], build_cost.estimate_cost
    monkeypatch.setattr(build_cost, "estimate_cost", lambda *args: seen.append(real(*args)) or seen[-1])
    build.main(argv)
    (need,) = [n for n in seen[0].needs if n.item.kind == "frozen"]
    (folder,) = (tmp_path / "runs" / "frozen").glob("train-*")
    files = sum(path.stat().st_size for path in folder.glob("features-*.npy"))
    assert not need.item.kept and need.item.row == "f" and files <= need.disk <= files + 2 * build_cost.MANIFEST_BYTES


def test_of_a_frozen_backbone_the_default_augmentations_are_refused(tmp_path):
    sets = ["recipe.freeze=all", f"members.f={ROW.replace('FILE', 'x.safetensors')}"]
    with pytest.raises(ConfigError, match=r"^configs/recipe\.yaml: with freeze: all each image .*came: flip, pad_crop"):
        load_build_config(["f"], sets=sets)
    own = "members.f.recipe={freeze: all, augment: [flip]}"
    plan = load_build_config(["f"], sets=[sets[1], own])
    assert plan.recipe.freeze is None and plan.recipe_of(plan.members[0]).freeze == "all"


IMAGES = Address("images", "train", {"x": 1})


def frozen(member=None, images=IMAGES, start=None, precision="float32", device="cpu", **recipe):
    asked = tiny.recipe(**{"freeze": "all", "augment": ["flip"]} | recipe)
    member = member or tiny.member(backbone=BACKBONE)
    return cache_keys.frozen_address(member, asked, images, start or {"sha256": "ab"}, precision, device).key


@pytest.mark.parametrize(
    "change",
    [
        {"member": tiny.member(backbone=BACKBONE | {"ibn": "a"})},
        {"member": tiny.member(backbone=BACKBONE, head={"name": "mgn", "width": 8})},
        {"member": tiny.member(backbone=BACKBONE, head={"name": "global", "pool": "max"})},
        {"images": Address("images", "train", {"x": 2})},
        {"start": {"sha256": "cd"}},
        {"precision": "bfloat16"},
        {"device": "cuda"},
        {"augment": []},
        {"channels_last": False},
        {"seed": 4},
    ],
    ids=str,
)
def test_what_features_of_a_frozen_backbone_depend_on(change):
    assert frozen(**change) != frozen()


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": {"name": "adamw", "lr": 0.1}},
        {"epochs": 9},
        {"losses": {"id": {}}},
        {"ema": 0.9},
        {"identities_per_batch": 3},
        {"augment": [{"name": "flip", "p": 0.1}]},
        {"member": tiny.member(name="other", backbone=BACKBONE)},
    ],
    ids=str,
)
def test_what_they_do_not_depend_on(change):
    assert frozen(**change) == frozen()
