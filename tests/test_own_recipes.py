"""Members with a size, a seed or recipe keys of their own: whose recipe is whose, addresses, one build of two sizes."""

import json
import re

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from ensemble.results.cache_keys import images_address, weights_address
from models.data.batches import PACKED
from models.data.images import decode
from models.data.layouts import read_layout
from tests.conftest import TINY, run_command

A, B = "members.r50", "members.ibn_a"


def plan(*sets, members=("r50", "ibn_a")):
    return load_build_config(list(members), sets=[*sets])


def test_a_members_keys_are_laid_over_the_shared_recipe():
    made = plan(f"{A}.size=[128,64]", f"{A}.seed=7", A + ".recipe={epochs: 5, optimizer: {name: adam, lr: 1e-4}}")
    r50, ibn_a = made.members
    assert made.recipe_of(ibn_a) is made.recipe
    own, shared = made.recipe_of(r50).model_dump(), made.recipe.model_dump()
    changed = {key for key in own if own[key] != shared[key]}
    assert changed == {"size", "seed", "epochs", "optimizer"}
    assert own["size"] == (128, 64) and own["seed"] == 7 and own["epochs"] == 5
    assert own["optimizer"] == {"name": "adam", "lr": 1e-4}, "a key is replaced whole, as a competition's is"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (A + ".size=[8,8]", "members.r50, laid over the shared recipe: size: .*at least 32 pixels"),
        (A + ".recipe={epoch: 3}", "members.r50, laid over.*unknown key 'epoch'; it knows: size, epochs"),
        (A + ".recipe={min_images: 3}", "min_images holds for all members of a build; set recipe.min_images"),
        (A + ".recipe={precision: float32}", "precision holds for all members"),
        (A + ".seed=-1", "laid over the shared recipe: seed"),
        (A + "={seed: 1, recipe: {seed: 2}}", "seed is given twice"),
    ],
)
def test_what_cannot_be_a_members_own_is_refused(change, said):
    changes = [change] if "={" not in change or "recipe=" in change else ["members.r50.seed=1", A + ".recipe={seed: 2}"]
    with pytest.raises(ConfigError, match=said):
        plan(*changes)


def address(made, member):
    images = images_address("train", "contents", made.recipe_of(member).size)
    return weights_address(member, made.recipe_of(member), images, "labels", None, "float32", "cpu")


def test_where_nothing_is_said_the_address_is_what_it_was_and_otherwise_that_of_the_same_shared_recipe():
    before, own = plan(), plan(f"{A}.seed=7", f"{A}.size=[128,64]")
    shared = plan("recipe.seed=7", "recipe.size=[128,64]")
    assert address(before, before.members[1]) == address(own, own.members[1])
    assert address(before, before.members[0]) != address(own, own.members[0])
    assert address(own, own.members[0]) == address(shared, shared.members[0]), "the same thing is made but once"
    assert not {"size", "seed"} & set(address(before, before.members[0]).request["member"])


def test_images_of_another_resampling_lie_elsewhere_and_plain_ones_where_they_did():
    plain = images_address("train", "contents", (64, 32))
    assert "resampled" not in plain.request and plain == images_address("train", "contents", (64, 32), "bilinear")
    assert images_address("train", "contents", (64, 32), "bicubic") != plain


@pytest.mark.parametrize(
    ("word", "name", "model"),
    [
        ("timm:test_vit", "test_vit", "test_vit"),
        ("timm:test_vit.r160_in1k", "test_vit_r160_in1k", "test_vit.r160_in1k"),
        ("small=timm:test_vit", "small", "test_vit"),
    ],
)
def test_a_member_by_timms_name(word, name, model):
    made = plan(f"members.{name}.seed=3", members=("r50", word)).members[1]
    assert (made.name, made.backbone.options["model"], made.seed) == (name, model, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("timm:",), "'' cannot be a member's name; wanted timm:MODEL or NAME=timm:MODEL"),
        (("a.b=timm:test_vit",), r"'a\.b' cannot be a member's name"),
        (("timm:timm/test_vit",), "'timm/test_vit' cannot be a member's name"),
        (("timm:test_vit", "timm:test_vit"), "'test_vit' is named twice; call one otherwise: --members OTHER=timm:"),
        (("r50=timm:resnet50",), "configs/members.yaml has a member 'r50'; give it another name: OTHER=timm:resnet50"),
        (("r50", "r51"), "unknown member 'r51'"),
    ],
)
def test_a_name_that_cannot_be_is_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        plan(members=words)


def test_a_named_recipe_holds_for_a_member_by_timms_name():
    made = load_build_config(["timm:test_vit"], recipe="gem").members[0]
    assert made.head.options["pool"] == "gem"


@pytest.fixture(scope="module")
def mixed(people, tmp_path_factory):
    """A resnet of 64x32, twice, once with a seed of its own; and a transformer of 96x48, bicubic."""
    runs = tmp_path_factory.mktemp("mixed") / "runs"
    argv = ["--members", "a,c,vit=timm:test_vit", "--data", people, "--out", runs, *TINY]
    argv += ["--set", "members.c={backbone: {name: resnet, depth: 26, base: 16}, seed: 5, recipe: {epochs: 2}}"]
    argv += ["--set", "members.vit.size=[96,48]", "--set", "members.vit.head=token"]
    dry = run_command("ensemble.build", *argv, "--dry-run")
    done = run_command("ensemble.build", *argv)
    assert done.returncode == 0, done.stderr
    return people, runs, argv, dry, done


def manifests(runs, kind):
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((runs / kind).glob("*/manifest.json"))}


def test_a_dry_run_says_whose_recipe_is_its_own(mixed):
    *_, dry, done = mixed
    for said in (dry.stderr, done.stderr):
        text = " ".join(said.split())
        assert "c: epochs 2, seed 5" in text
        assert "vit: timm's test_vit, size [96, 48], images resized bicubic" in text


def test_images_are_packed_once_a_size_and_as_the_model_wants(mixed):
    people, runs, *_ = mixed
    found = manifests(runs, "images")
    sizes = [(*m["request"]["size"], m["request"].get("resampled")) for m in found.values()]
    assert sorted(sizes, key=str) == sorted(3 * [(64, 32, None)] + 3 * [(96, 48, "bicubic")], key=str)
    name = next(n for n, m in found.items() if n.startswith("test-query") and m["request"].get("resampled"))
    packed = np.load(runs / "images" / name / PACKED)
    first = read_layout("drawn", people).query.paths[0]
    assert packed.shape[1:] == (96, 48, 3)
    np.testing.assert_array_equal(packed[0], decode(first, (96, 48), "bicubic"))
    assert (packed[0] != decode(first, (96, 48))).any()


def test_each_is_trained_by_its_own_recipe(mixed):
    _, runs, *_ = mixed
    asked = {m["request"]["member"]["name"]: m["request"] for m in manifests(runs, "members").values()}
    told = {name: (r["recipe"]["size"], r["recipe"]["seed"], r["recipe"]["epochs"]) for name, r in asked.items()}
    assert told == {"a": ([64, 32], 0, 1), "c": ([64, 32], 5, 2), "vit": ([96, 48], 0, 1)}
    epochs = {p.parent.name.split("-")[0]: p.read_text().count("\n") for p in runs.glob("members/*/epochs.jsonl")}
    assert epochs == {"a": 1, "c": 2, "vit": 1}


def test_what_exists_is_not_made_again_and_the_report_knows(mixed, tmp_path):
    _, runs, argv, *_ = mixed
    again = run_command("ensemble.build", *argv)
    assert again.returncode == 0 and "kept: a, c, vit; to make: none" in again.stderr
    assert run_command("submit.make", "--runs", runs, "--out", tmp_path / "out").returncode == 0
    report = run_command("submit.report", "--runs", runs, "--out", tmp_path / "pages")
    assert report.returncode == 0, report.stderr
    pages = " ".join(p.read_text(encoding="utf-8") for p in (tmp_path / "pages").rglob("*.html"))
    assert re.search(r"vit, its own.{0,80}size \[96, 48\]", pages, re.DOTALL)
    assert list((tmp_path / "pages").rglob("*-vit.webp")), "what the transformer looks at"
