"""Named recipes: each loads, passes its check, and changes what it says and nothing else."""

from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.load import HERE, checked, load_build_config
from configs.schema import Recipe
from models.registry import AUGMENTS, HEADS, check

NAMES = sorted(p.stem for p in (HERE / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("competition", ["drawn", "market1501"])
@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_carried_out(name, competition):
    plan = load_build_config(["r50"], recipe=name, competition=competition)
    check(plan.members[0], plan.recipe)


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_what_it_says_and_nothing_else(name):
    said = yaml.safe_load((HERE / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
    default = load_build_config(["r50", "ibn_a"], competition="market1501")
    named = load_build_config(["r50", "ibn_a"], competition="market1501", recipe=name)
    before, after = default.recipe.model_dump(), named.recipe.model_dump()
    asked = said.get("recipe", {})
    assert after == checked(Recipe, before | asked, name).model_dump()
    changed = {k for k in before if before[k] != after[k]}
    assert (
        changed == set(asked) if name not in ("source", "frozen") else changed < set(asked)
    )  # it also says what is default now
    for one, other in zip(default.members, named.members, strict=True):
        changed = {k for k in one.model_dump() if getattr(one, k) != getattr(other, k)}
        assert changed == set(said.get("member", {}))


def test_without_a_name_it_is_the_default():
    assert load_build_config(["r50"], recipe=None) == load_build_config(["r50"])


def test_strong_has_every_augmentation_and_centres():
    recipe = load_build_config(["r50"], recipe="strong").recipe
    assert {a.name for a in recipe.augment} == set(AUGMENTS)
    assert set(recipe.losses) == {"id", "triplet", "center"} and recipe.resample is not None


SOURCE = ["r50", "rx50", "ibn_a", "ibn_b", "se_ibn_a"]


@pytest.fixture(params=["drawn", "market1501"])
def source(request):
    """The source design's system, whatever the competition says of its own."""
    return load_build_config(SOURCE, recipe="source", competition=request.param)


def test_source_is_five_members_each_with_mgn_and_a_2x2_branch(source):
    assert [m.name for m in source.members] == SOURCE
    assert {str(m.head) for m in source.members} == {"name='mgn_grid'"}
    assert [m.backbone for m in source.members] == [m.backbone for m in load_build_config(SOURCE).members]


def test_source_is_trained_with_five_augmentations_and_no_other(source):
    names = [a.name for a in source.recipe.augment]
    assert names == ["flip", "colour_jitter", "affine", "random_patch", "random_shift"]
    assert source.recipe.augment[-1].options.items() >= {"keep": 0.7, "fill": 127}.items()


def test_source_takes_16_identities_of_4_images_and_doubles_some_with_fewer_than_100(source):
    recipe = source.recipe
    assert (recipe.identities_per_batch, recipe.images_per_identity, recipe.min_images) == (16, 4, 2)
    assert recipe.resample.model_dump() == {"p": 0.5, "fewer_than": 100}


def test_source_is_0_1_smoothed_id_and_0_9_triplet_by_a_margin_that_grows(source):
    losses = source.recipe.losses
    assert set(losses) == {"id", "triplet"} and losses["id"] == {"weight": 0.1, "eps": 0.1, "over": "others"}
    triplet = losses["triplet"]
    assert triplet["weight"] == 0.9 and triplet["start"] < triplet["margin"] and triplet["rise"] == [10, 40]


def test_source_sums_distances_and_re_ranks_them_and_labels_by_loop_search(source):
    e = source.ensemble
    assert (e.fusion, e.weights, e.rerank.name, e.k1, e.k2) == ("sum_then_rerank", {}, "k_reciprocal", 20, 6)
    assert e.pseudo.method == "loop_search"


def test_the_fields_own_names_are_the_same_recipe():
    one, other = (
        load_build_config(["r50"], sets=[f"recipe.augment=[{{name: {erase}, fill: data}}, {jitter}]"]).recipe
        for erase, jitter in (("erase", "colour_jitter"), ("random_erasing", "color_jitter"))
    )
    assert one == other and one.model_dump_json() == other.model_dump_json()
    check(load_build_config(["r50"]).members[0], other)


def test_every_head_of_feature_maps_is_in_some_recipe():
    """`token` is of networks that have a class token; the members of the recipes have none."""
    assert {load_build_config(["r50"], recipe=name).members[0].head.name for name in NAMES} == set(HEADS) - {"token"}


def test_it_comes_after_the_competition_and_before_the_command_line(tmp_path):
    for name in ("recipe", "ensemble", "members"):
        (tmp_path / f"{name}.yaml").write_text((HERE / f"{name}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    changes = "{epochs: 3, min_images: 4, seed: 4}"
    rules = f"{{layout: drawn, format: naic_json, top_k: 9, ap: hits, junk: none, recipe: {changes}}}"
    for folder, name, text in (
        ("competitions", "c", rules),
        ("recipes", "r", "recipe: {min_images: 5, seed: 5}\nmember: {head: {name: mgn}}\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    sets = ["recipe.seed=6", "members.ibn_a.head=global"]
    plan = load_build_config(["r50", "ibn_a"], competition="c", recipe="r", sets=sets, folder=tmp_path)
    assert (plan.recipe.epochs, plan.recipe.min_images, plan.recipe.seed) == (3, 5, 6)
    assert [m.head.name for m in plan.members] == ["mgn", "global"]


def test_it_holds_for_members_made_on_the_command_line():
    sets = ["members.a.backbone={name: resnet}", "members.b={backbone: resnet, head: rmgl}", "members.r50.head=global"]
    plan = load_build_config(["a", "b", "r50", "ibn_a"], recipe="abp", sets=sets)
    assert [m.head.name for m in plan.members] == ["mgn", "rmgl", "global", "mgn"]
    assert plan.members[0].head.options == {"adaptive": True}


def test_unknown_recipe():
    with pytest.raises(ConfigError, match=r"unknown recipe 'weak'; configs/recipes has: .*baseline.*strong"):
        load_build_config(["r50"], recipe="weak")


def test_unknown_key(tmp_path: Path):
    for path in HERE.rglob("*.yaml"):
        copy = tmp_path / path.relative_to(HERE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "recipes" / "odd.yaml").write_text("members: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'members'; it knows: recipe, member"):
        load_build_config(["r50"], recipe="odd", folder=tmp_path)
