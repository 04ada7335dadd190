"""Views of a build: those of another size are decoded at it, and those that a head cannot cut are refused early."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from configs.errors import ConfigError
from configs.load import load_build_config
from ensemble import build, open_build
from models.data.batches import normalise
from models.data.layouts import read_layout
from models.extraction.extract import load_member
from models.extraction.views import check_views

CPU = torch.device("cpu")

RMGL = ["members.r50.head=rmgl", "members.r50.backbone={name: resnet, depth: 26, base: 16}", "recipe.size=[64,64]"]


def plan_of(views, *sets):
    return load_build_config(["r50"], sets=[*RMGL, *sets, f"ensemble.views={views}"])


@pytest.mark.parametrize(("size", "words"), [("[80, 64]", "80x64 .*stripes"), ("[32, 64]", "32x64 .*stripes")])
def test_a_scale_that_stripes_do_not_divide(size, words):
    plan = plan_of(f"[plain, {{name: scale, size: {size}}}]")
    with pytest.raises(ConfigError, match=rf"ensemble.views, scale: member 'r50' cannot take pictures of {words}"):
        check_views(plan.members[0], plan)


def test_views_that_it_can_take():
    for views in ("[]", "[plain, {name: scale, size: [128, 64]}, {name: crop, share: 0.9}]"):
        plan = plan_of(views)
        check_views(plan.members[0], plan)
    flipped = plan_of("[plain, flip]", "ensemble.flip=false")
    check_views(flipped.members[0], flipped)


def test_a_scale_sees_pictures_decoded_at_its_size(tiny_build, tmp_path):
    """The features that a build keeps are those of the files themselves, opened at that size; weights stay."""
    runs = shutil.copytree(tiny_build.runs, tmp_path / "runs")
    argv = [word if word != str(tiny_build.runs) else str(runs) for word in tiny_build.argv]
    views = "ensemble.views=[plain, {name: scale, size: [96, 48]}]"
    before = set(runs.glob("members/*"))
    build.main([*argv, "--set", views, "--set", "ensemble.flip=false", "--set", "ensemble.whiten=train"])
    assert set(runs.glob("members/*")) == before
    (weights,) = runs.glob("members/a-*/weights.safetensors")
    member = open_build(runs).plan.members[0]
    net = load_member(member, weights.parent, (64, 32))
    kept = {folder.name for folder in tiny_build.runs.glob("features/*")}
    (found,) = (folder for folder in runs.glob("features/a-test-*") if folder.name not in kept)
    split = read_layout("drawn", tiny_build.people).query
    wanted = []
    for path in split.paths:
        total = 0
        for height, width in ((64, 32), (96, 48)):
            with Image.open(path) as picture:
                seen = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
            batch = torch.from_numpy(seen.copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                total = total + net(normalise(batch, CPU, channels_last=False)).bn_feats[0]
        wanted.append((total / total.norm()).numpy())
    np.testing.assert_allclose(np.load(found / "feats.npy")[: len(wanted)], wanted, atol=1e-5)
