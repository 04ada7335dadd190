"""Members with a seed in their name: what they are, where their results lie, and how the name is written."""

import shlex

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from ensemble.fusion.strategy import FusionSettings
from ensemble.results import cache_keys
from ensemble.tune.__main__ import sets as tuned_sets
from models.data.pk_sampler import pk_batches


def address(plan, member):
    images = cache_keys.images_address("train", "0" * 12, (64, 32))
    recipe = plan.recipe_of(member)
    return cache_keys.weights_address(member, recipe, images, "1" * 12, None, "float32", "cpu")


def test_a_seed_in_the_name_is_the_members_own():
    plan = load_build_config(["r50@0", "r50@7", "rx50"], sets=["recipe.seed=3", "members.r50.size=[64,32]"])
    assert [m.name for m in plan.members] == ["r50@0", "r50@7", "rx50"]
    assert [plan.recipe_of(m).seed for m in plan.members] == [0, 7, 3]
    assert [plan.recipe_of(m).size for m in plan.members][:2] == [(64, 32)] * 2
    assert plan.members[0].backbone == plan.members[1].backbone


def test_the_default_seed_is_the_plain_members_result():
    """And a seed in the name is the seed that `members.r50.seed` gives; another one is another result."""
    plain = load_build_config(["r50"], sets=["recipe.seed=3"])
    own = load_build_config(["r50"], sets=["recipe.seed=3", "members.r50.seed=4"])
    named = load_build_config(["r50@3", "r50@4"], sets=["recipe.seed=3"])
    three, four = (address(named, m) for m in named.members)
    assert three.key == address(plain, plain.members[0]).key
    assert four.key == address(own, own.members[0]).key != three.key
    assert four.key.startswith("members/r50-")


def test_a_seed_is_refused_by_what_the_plain_member_has():
    assert len(load_build_config(["r50", "r50@0"], sets=["recipe.seed=3"]).members) == 2


def test_recipes_and_changes_reach_a_member_with_a_seed():
    sets = [
        "members.mine={backbone: {name: resnet, depth: 26}}",
        "members.mine@2.head=gem",
        "members.r50@1.size=[64,32]",
    ]
    plan = load_build_config(["mine@1", "mine@2", "r50@1", "r50"], recipe="mgn", sets=sets)
    heads = {m.name: m.head.name for m in plan.members}
    assert heads == {"mine@1": "mgn", "mine@2": "gem", "r50@1": "mgn", "r50": "mgn"}
    assert [plan.recipe_of(m).size for m in plan.members[2:]] == [(64, 32), plan.recipe.size]


def test_models_of_timm_take_seeds():
    plan = load_build_config(["timm:convnext_atto@1", "timm:convnext_atto@2", "x=timm:convnext_atto@1"])
    assert [m.name for m in plan.members] == ["convnext_atto@1", "convnext_atto@2", "x@1"]
    assert {m.backbone.options["model"] for m in plan.members} == {"convnext_atto"}
    assert [m.seed for m in plan.members] == [1, 2, 1]


@pytest.mark.parametrize(
    ("members", "sets", "words"),
    [
        (["r50@x"], (), "'x' is no seed; wanted NAME@SEED, a whole number, such as r50@1"),
        (["r50@"], (), "'' is no seed"),
        (["r50@01"], (), "'01' is no seed"),
        (["r50@-1"], (), "'-1' is no seed"),
        (["r50@\u0661"], (), "is no seed"),
        (["r5O@1"], (), "unknown member 'r5O@1'; configs/members.yaml has: r50"),
        (["r50", "r50@0"], (), "'r50' and 'r50@0' are one network with one seed"),
        (["r50", "r50@3"], ["recipe.seed=3"], "'r50' and 'r50@3' are one network with one seed"),
        (["r50@5", "r50"], ["members.r50.seed=5"], "'r50@5' and 'r50' are one network"),
        (["r50@5", "r50"], ["members.r50.recipe={seed: 5}"], "'r50@5' and 'r50' are one network"),
        (["r50@1", "r50@1"], (), "'r50@1' is named twice"),
        (["timm:convnext_atto@1", "timm:convnext_atto@1"], (), "is named twice"),
        (["r50@99999999999999999999"], (), "seed"),
    ],
)
def test_names_that_are_none(members, sets, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        load_build_config(members, sets=sets)


def test_the_line_to_build_with_is_read_back_by_a_shell():
    members = ["r50@0", "r50@1"]
    said = shlex.split(shlex.join(tuned_sets(FusionSettings((1.0, 0.25)), members)))
    plan = load_build_config(members, sets=said)
    assert plan.ensemble.weights == {"r50@0": 1, "r50@1": 0.25}
    assert load_build_config(members, sets=["ensemble.weights.r50@1=2"]).ensemble.weights == {"r50@1": 2}


def test_another_seed_draws_other_batches():
    plan = load_build_config(["r50@0", "r50@1"])
    labels = np.repeat(np.arange(20), 4)
    drawn = [pk_batches(labels, 4, 2, seed=plan.recipe_of(m).seed, epoch=0) for m in plan.members]
    assert (drawn[0] != drawn[1]).any()
