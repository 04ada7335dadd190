"""What was met in the fuzzing and before it, each with its sentence: numbers, keys, stores, requests."""

import os
import shutil

import pytest

from configs.console.command import run
from configs.store.store import Address, Store
from ensemble import build, runs, split, verify
from ensemble.pseudo import __main__ as pseudo
from submit import make
from submit.report.serve import split as address_parts
from tests.conftest import TINY
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery,camid"
ROWS = [f"{who},{who}{i}.jpg,test,{int(i == 0)},{int(i > 0)},{i}" for who in ("fox", "owl") for i in range(3)]


def said(capsys, main, *argv):
    """The sentence that a command ends in, with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: main([str(a) for a in argv]))
    err = capsys.readouterr().err
    assert left.value.code == 2 and "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("members.r50=1", "members.r50 is 1; wanted what differs from ResNet-50, such as {backbone: {name: resnet}}"),
        ("members.r50=[resnet]", "members.r50 is ['resnet']; wanted what differs"),
        ("recipe.seed=18446744073709551617", "seed: Input should be less than 9223372036854775808"),
        ("recipe.size=[100000,100000]", "size is height, width, 16,777,216 pixels together at most"),
        (
            "members.a.backbone={name: resnet, base: 100000000}",
            "backbone 'resnet': Storage size calculation overflowed",
        ),
        ("ensemble.weights={a: 1e308}", "weights.a: Input should be less than or equal to 1000000"),
        ("ensemble.camera_penalty=1e308", "camera_penalty: Input should be less than or equal to 1000000"),
    ],
)
def test_changes(people, tmp_path, capsys, change, says):
    argv = ["--members", "a", "--data", people, "--runs", tmp_path, *TINY, "--set", change, "--dry-run"]
    assert says in said(capsys, build.main, *argv)


def test_a_recipe_file_over_a_row_that_is_none(people, tmp_path, capsys):
    argv = ["--members", "r50", "--data", people, "--recipe", "gem", "--set", "members.r50=1", "--runs", tmp_path]
    assert "members.r50 is 1; wanted" in said(capsys, build.main, *argv)


@pytest.mark.parametrize(
    ("main", "argv", "says"),
    [
        (
            split.main,
            ["--data", "x", "--out", "y", "--seed", "-1"],
            "argument --seed: '-1': wanted a whole number, 0 or",
        ),
        (build.main, ["--rounds", "0"], "argument --rounds: '0': wanted a whole number, 1 or more"),
        (build.main, ["--workers", "9" * 50], "wanted a whole number, 0 or more"),
        (pseudo.main, ["--groups", "0"], "argument --groups: '0': wanted a whole number, 1 or more"),
        (make.main, ["--runs", "/" + "x" * 5000], "File name too long"),
    ],
)
def test_options(capsys, main, argv, says):
    sentence = said(capsys, main, *argv)
    assert says in sentence and len(sentence) < 2100


@pytest.fixture
def store(tmp_path):
    """A data set, a member, and a store with one build of it."""
    write_member(tmp_path / "m.npz", {row.split(",")[1]: i / 3 for i, row in enumerate(ROWS)})
    write_table(tmp_path / "data", HEADER, ROWS)
    built(tmp_path / "data", tmp_path / "runs", tmp_path / "m.npz")
    return tmp_path


def test_a_key_that_is_of_no_build(store, capsys):
    features = next((store / "runs/features").iterdir())
    key = features.relative_to(store / "runs")
    assert f"--build '{key}': {store}/runs has builds/own-" in said(
        capsys, make.main, "--runs", store / "runs", "--build", key
    )


def test_a_card_that_is_not_there(store, capsys, monkeypatch):
    monkeypatch.setattr("ensemble.kernels.device.cuda_problem", lambda: "no CUDA device answers")
    assert said(capsys, make.main, "--runs", store / "runs", "--device", "cuda") == (
        "error: device 'cuda' cannot be used: no CUDA device answers; use 'cpu' or 'auto'"
    )


def test_a_record_of_another_version(store, capsys):
    record = next((store / "runs/builds").glob("*/build.json"))
    asked = Address("builds", "own", {"another": "version"})
    text = record.read_text().replace('"rounds"', '"roundz"', 1)
    made = Store(store / "runs", lambda text: None).get(asked, lambda f: (f / "build.json").write_text(text) and None)
    key = made.path.relative_to(store / "runs")
    assert "a record of another version" in said(capsys, make.main, "--runs", store / "runs", "--build", key)


@pytest.mark.parametrize("what", ["elsewhere", "nowhere", "half made", "a file"])
def test_links_in_a_store(store, what):
    """A link in the place of a result is removed as a link; what it points to stays."""
    (store / "else").mkdir()
    (store / "else/dear").write_text("x")
    result = next((store / "runs/features").iterdir())
    if what == "half made":
        (result.parent / ".m-test-0123456789ab.part").symlink_to(store / "else")
    elif what == "a file":
        (result.parent / ".m-test-0123456789ab.part").write_text("x")
    else:
        shutil.rmtree(result)
        result.symlink_to(store / ("else" if what == "elsewhere" else "none"))
    verify.main(["--runs", str(store / "runs"), "--remove"])
    runs.main(["--runs", str(store / "runs"), "--prune", "--yes"])
    built(store / "data", store / "runs", store / "m.npz")
    assert (store / "else/dear").read_text() == "x" and not os.path.islink(result)
    assert not list(result.parent.glob(".*"))


@pytest.mark.parametrize(("address", "path"), [("http://[x/", "/%00"), ("/a?b", "/a"), ("http://h/a", "/a")])
def test_addresses_that_are_none(address, path):
    assert address_parts(address).path == path
