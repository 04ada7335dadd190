"""Views that a member's head cannot cut are refused before anything is trained."""

import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from models.extraction.views import check_views

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
