"""What is said of a result that would be made again: the field that changed, by name."""

import json
import shutil

import pytest
from PIL import Image

from configs.store.code_version import CodeVersion, Digest
from configs.store.store import Address, Store
from ensemble import build
from ensemble.planning.rebuild_reasons import Asked, changes
from ensemble.results.manifests import Past, save_parts
from tests.test_build import again, runs  # noqa: F401  (fixtures)

NONE = Asked({}, frozenset())


def said(capsys, *argv):
    capsys.readouterr()
    build.main([*map(str, argv), "--dry-run"])
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["recipe.epochs=14"], "a, b: trained again: recipe.epochs 1 -> 14"),
        (["recipe.losses.triplet.margin=soft"], "a, b: trained again: recipe.losses.triplet.margin 0.3 -> soft"),
        (["recipe.precision=bfloat16"], "a, b: trained again: recipe.precision float32 -> bfloat16"),
        (["recipe.size=[64,48]"], "a, b: trained again: recipe.size [64, 32] -> [64, 48]"),
        (["members.a.backbone.ibn=a"], "a: trained again: member.backbone.ibn none -> a"),
        (
            ["members.b.head={name: global, pool: max}", "recipe.seed=1"],
            "b: trained again: member.head.pool none -> max; recipe.seed 0 -> 1",
        ),
        (["ensemble.flip=false"], "a, b: extracted again: flip true -> false"),
        (["ensemble.k1=70"], "test: searched again: k 64 -> 71"),
        (["ensemble.lam=0.9"], "test: ranked again: rerank.lam 0.3 -> 0.9"),
        (["ensemble.weights.a=2"], "test: searched again: weights.a 1.0 -> 2.0"),
    ],
)
def test_the_field_that_was_set(again, capsys, change, line):  # noqa: F811
    assert f"  {line}" in said(capsys, *again, *(part for c in change for part in ("--set", c)))


def test_nothing_is_said_where_all_is_kept(again, capsys):  # noqa: F811
    lines = said(capsys, *again)
    assert lines[-2:] == ["kept: a, b; to make: none", "nothing to make"]


def test_a_member_that_is_new(again, capsys):  # noqa: F811
    again[again.index("--members") + 1] = "a,c"
    lines = said(capsys, *again, "--set", "members.c={backbone: {name: resnet, depth: 26, base: 16, ibn: b}}")
    assert "  c: trained for the first time" in lines


def test_an_image_that_changed_one_that_is_new_and_one_that_is_gone(people, again, tmp_path, capsys):  # noqa: F811
    shutil.copytree(people, tmp_path / "people")
    first, second = sorted((tmp_path / "people" / "bounding_box_train").iterdir())[:2]
    Image.new("RGB", (32, 64), "red").save(first)
    second.rename(new := second.with_name(second.name.replace(".", "0.", 1)))
    again[again.index("--data") + 1] = str(tmp_path / "people")
    why = f"images of train: 1 changed, 1 new, 1 gone ({first.name}, {new.name}, {second.name})"
    assert f"  a, b: trained again: {why}" in said(capsys, *again)


def test_an_image_of_the_gallery_that_changed(people, again, tmp_path, capsys):  # noqa: F811
    """The members stand; their features do not."""
    shutil.copytree(people, tmp_path / "people")
    first = min((tmp_path / "people" / "bounding_box_test").glob("00[1-9]*"))
    Image.new("RGB", (32, 64), "red").save(first)
    again[again.index("--data") + 1] = str(tmp_path / "people")
    assert f"  a, b: extracted again: images of test-gallery: 1 changed ({first.name})" in said(capsys, *again)


def test_a_training_that_was_interrupted(again, runs, capsys):  # noqa: F811
    again += ["--set", "recipe.epochs=2"]
    lines = said(capsys, *again)
    assert any("trained again: recipe.epochs 1 -> 2" in line for line in lines)
    build.main([*again, "--members", "a"])
    made = max((p for p in runs.glob("members/a-*")), key=lambda p: p.stat().st_mtime)
    part = made.with_name(f".{made.name}.part")
    made.rename(part)
    (part / "resume").mkdir()
    (part / "resume" / "state.json").write_text(json.dumps({"point": {"epoch": 1}}))
    for features in runs.glob("features/a-*"):
        shutil.rmtree(features)
    assert "  a: training goes on after epoch 1" in said(capsys, *again)


# ------------------------------------------------------------------------------------------- addresses made by hand


def keep(store, kind, name, request):
    address = Address(kind, name, request)
    store.get(address, lambda folder: (folder / "x").write_text("x"))
    return address


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs", lambda text: None)


def member(code="c", labels="l", images="i", **recipe):
    request = {"recipe": {"epochs": 12} | recipe, "code": code, "labels": labels, "images": images}
    return Address("members", "r50", request)


def test_the_file_of_code_that_changed(store):
    old = CodeVersion("111", {"models/training/train.py": "a", "models/net.py": "b", "models/gone.py": "c"})
    new = CodeVersion("222", {"models/training/train.py": "z", "models/net.py": "b", "models/new.py": "d"})
    keep(store, "members", "r50", member(old).request)
    assert changes(Past(store), member(new), NONE) == [
        "code of models/training/train.py changed",
        "code: models/new.py new",
        "code: models/gone.py gone",
    ]


def test_many_files_of_code_are_counted(store):
    keep(store, "members", "r50", member(CodeVersion("111", {f"m/{i}.py": "a" for i in range(9)})).request)
    (told,) = changes(Past(store), member(CodeVersion("222", {f"m/{i}.py": "b" for i in range(9)})), NONE)
    assert told == "code of m/0.py, m/1.py, m/2.py, m/3.py and 5 more changed"


def test_code_whose_files_nobody_wrote_down(store):
    keep(store, "members", "r50", member("111").request)
    (change,) = changes(Past(store), member(CodeVersion("222", {"a.py": "z"})), NONE)
    assert change.startswith("its code changed")


def test_labels(store):
    keep(store, "members", "r50", member(labels="l").request)
    assert changes(Past(store), member(labels="m"), NONE) == ["labels: the identities of the training images changed"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_member_added_or_left_out_is_told_in_words(store, kept):
    """Once, and not by its digest or its weight."""
    one = {"banks": {"a": "123"}, "weights": {"a": 1.0}, "top_k": 9}
    two = {"banks": {"a": "123", "b.2": "456"}, "weights": {"a": 1.0, "b.2": 0.5}, "top_k": 9}
    keep(store, "rankings", "test", one)
    asked = Asked({}, frozenset() if kept else frozenset({"456"}))
    assert changes(Past(store), Address("rankings", "test", two), asked) == ["new member b.2"]
    other = Store(store.root.parent / "other", lambda text: None)
    keep(other, "rankings", "test", two)
    assert changes(Past(other), Address("rankings", "test", one), asked) == ["without member b.2"]
    weighed = two | {"weights": {"a": 1.0, "b.2": 2.0}}
    assert changes(Past(other), Address("rankings", "test", weighed), asked) == ["weights.b.2 0.5 -> 2.0"]


def test_the_nearest_is_compared_with_and_of_another_name_none(store):
    keep(store, "members", "r50", member(epochs=1, seed=5).request)
    keep(store, "members", "r50", member(epochs=14, seed=6).request)
    assert changes(Past(store), member(epochs=14, seed=7), NONE) == ["recipe.seed 6 -> 7"]
    assert changes(Past(store), Address("members", "rx50", {}), NONE) is None


def test_rows_of_a_list_are_told_by_their_names(store):
    keep(store, "members", "r50", member(augment=[{"name": "flip", "p": 0.5}, {"name": "erase"}]).request)
    now = member(augment=[{"name": "flip", "p": 0.4}, {"name": "cutout"}])
    assert changes(Past(store), now, NONE) == [
        "recipe.augment.cutout none -> {}",
        "recipe.augment.erase {} -> none",
        "recipe.augment.flip.p 0.5 -> 0.4",
    ]


def test_images_by_their_parts(store):
    old = Address("images", "train", {"contents": Digest("1", {"a": "x", "b": "y"}), "size": [64, 32]})
    store.get(old, lambda folder: save_parts(folder, old))
    new = Address("images", "train", {"contents": Digest("2", {"a": "x", "b": "z"}), "size": [64, 32]})
    keep(store, "members", "r50", member(images=old.digest).request)
    asked = Asked({new.digest: new}, frozenset({new.digest}))
    assert changes(Past(store), member(images=new.digest), asked) == ["images of train: 1 changed (b)"]


def test_what_follows_from_something_to_make_is_not_told_twice(store):
    old, new = member(epochs=1), member(epochs=2)
    request = {"weights": old.digest, "flip": True}
    keep(store, "features", "r50-test", request)
    wanted = Address("features", "r50-test", request | {"weights": new.digest})
    assert changes(Past(store), wanted, Asked({new.digest: new}, frozenset({new.digest}))) == []


def test_manifests_that_cannot_be_read_are_passed_over(store):
    keep(store, "members", "r50", member().request)
    for content in ("", "[]", '{"request": 3}'):
        folder = store.root / "members" / f"r50-{len(content):012d}"
        folder.mkdir()
        (folder / "manifest.json").write_text(content)
    assert changes(Past(store), member(seed=1), NONE) == ["recipe.seed none -> 1"]


def test_of_several_the_one_that_differs_least_is_told(tmp_path):
    store = Store(tmp_path)
    for x, y in ((1, 1), (2, 2)):  # the second is the newer
        store.get(Address("members", "a", {"x": x, "y": y}), lambda folder: (folder / "w").write_text("w"))
    assert changes(Past(store), Address("members", "a", {"x": 1, "y": 3}), NONE) == ["y 1 -> 3"]
    assert changes(Past(store), Address("members", "a", {"x": 2, "y": 3}), NONE) == ["y 2 -> 3"]
