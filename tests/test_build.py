"""ensemble.build as a user meets it: what is kept, what is made again, and what is said when something is wrong."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs.console.command import run
from configs.store.store import Store
from ensemble import build
from ensemble.features.feature_bank import load_bank
from ensemble.rerank import query_expansion, whitening
from ensemble.results.lineage import used_by
from ensemble.results.manifests import ResultHistory, extracted
from submit import make
from tests.conftest import ROOT, TINY

KILLED = [*TINY, "--set", "recipe.epochs=2"]


def say_build(capsys, *argv):
    """Run a build in this process; what it said on standard error."""
    capsys.readouterr()
    build.main([str(a) for a in argv])
    return capsys.readouterr().err


def kept(runs):
    """Key -> when its manifest was written, of every whole result."""
    return {f"{p.parent.parent.name}/{p.parent.name}": p.stat().st_mtime_ns for p in runs.glob("*/*/manifest.json")}


def new(before, runs, kind):
    return sorted(k for k in kept(runs) if k not in before and k.startswith(kind + "/"))


@pytest.fixture
def runs(tiny_build, tmp_path):
    """A copy of the finished build's results, to go on from."""
    shutil.copytree(tiny_build.runs, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def again(tiny_build, runs):
    """The same command on the copy."""
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(runs)
    return argv


def test_says_what_it_does_and_prints_the_build(tiny_build):
    last = Path(tiny_build.out.splitlines()[-1])
    assert last.is_dir() and last.parent == tiny_build.runs / "builds"
    for words in ("6 identities, 64x32", "18 queries x 61 gallery images", "kept: none; to make: a, b", "lists of 61"):
        assert words in tiny_build.err
    assert tiny_build.err.splitlines()[-1].endswith(f"next: python -m submit.make --runs {tiny_build.runs}")


def test_a_second_run_makes_nothing(again, runs, capsys):
    before = kept(runs)
    said = say_build(capsys, *again)
    assert "kept: a, b; to make: none" in said and "training" not in said
    assert {k: v for k, v in kept(runs).items() if k in before} == before
    assert {k.split("/")[0] for k in kept(runs).keys() - before.keys()} <= {"builds"}  # --out stands in the command


def test_another_lam_makes_only_another_ranking(again, runs, capsys):
    before = kept(runs)
    say_build(capsys, *again, "--set", "ensemble.lam=0.9")
    assert {k: v for k, v in kept(runs).items() if k in before} == before
    assert sorted(k.split("/")[0] for k in kept(runs).keys() - before.keys()) == ["builds", "rankings"]


def test_each_re_ranked_first_keeps_a_search_a_member(again, runs, tmp_path, capsys):
    """Other weights then search no more; and submit.make scores what the build ranked."""
    before = kept(runs)
    say_build(capsys, *again, "--set", "ensemble.fusion=rerank_then_sum", "--set", "ensemble.k1=5")
    assert len(new(before, runs, "neighbours")) == 2 and len(new(before, runs, "rankings")) == 1
    found = set(new(before, runs, "neighbours"))
    more = ["ensemble.fusion=rerank_then_sum", "ensemble.k1=5", "ensemble.weights.a=3"]
    say_build(capsys, *again, *(x for change in more for x in ("--set", change)))
    assert set(new(before, runs, "neighbours")) == found and len(new(before, runs, "rankings")) == 2
    make.main(["--runs", str(runs), "--out", str(tmp_path / "out")])
    assert "sum of re-ranked" in capsys.readouterr().out


def test_expansion_and_penalty_make_features_and_lists_of_their_own(again, runs, tmp_path, capsys):
    """Nothing is trained or extracted; the features kept are the average; submit.make scores what the build ranked."""
    before = kept(runs)
    more = ["ensemble.expand={name: database, k: 3}", "ensemble.camera_penalty=0.1", "ensemble.k1=5"]
    said = say_build(capsys, *again, *(x for change in more for x in ("--set", change)))
    assert "database averaged with their 3 nearest" in said and "training" not in said
    made = {kind: new(before, runs, kind) for kind in ("members", "features", "expanded", "neighbours", "rankings")}
    assert [len(keys) for keys in made.values()] == [0, 0, 2, 1, 1]
    feats = [np.load(next(runs.glob(f"features/{m}-test-[0-9a-f]*/feats.npy"))) for m in ("a", "b")]
    want = query_expansion.database(feats, 3)
    for at, key in enumerate(made["expanded"]):
        np.testing.assert_allclose(np.load(runs / key / "feats.npy"), want[at], atol=1e-6)
    make.main(["--runs", str(runs), "--out", str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out" / "score.json").read_text())["scores"]["test"]
    assert "camera_penalty=0.1" in rows[-1]["signature"] and made["expanded"][0].split("/")[1] in rows[-1]["signature"]


@pytest.mark.parametrize("name", ["test", "train"])
def test_whitening_makes_features_of_its_own(again, runs, tmp_path, capsys, name):
    """Before averaging; nothing is trained; the signature says on what it was learned; nothing of it is prunable."""
    before = kept(runs)
    more = [f"ensemble.whiten={{name: {name}, shrinkage: 0.2, center: camera}}", "ensemble.expand={name: database}"]
    argv = [*again, *(x for change in more for x in ("--set", change))]
    assert "whitening" not in say_build(capsys, *argv, "--dry-run") and kept(runs) == before
    said = say_build(capsys, *argv)
    on = {"test": "query and gallery", "train": "the training images"}[name]
    assert f"a, test: whitened by {on}: 512 dimensions, " in said and "training a" not in said
    made = {kind: new(before, runs, kind) for kind in ("members", "features", "whitened", "expanded", "rankings")}
    assert [len(keys) for keys in made.values()] == [0, 2 * (name == "train"), 2, 2, 1]
    bank = load_bank("a", next(runs.glob("features/a-test-[0-9a-f]*")), "")
    learned = bank if name == "test" else load_bank("a", next(runs.glob("features/a-train-[0-9a-f]*")), "")
    cameras = [[int(x.split("_c")[1][0]) for x in (*b.query_names, *b.gallery_names)] for b in (learned, bank)]
    want = whitening.learn(learned.feats, cameras[0], shrinkage=0.2).apply(bank.feats, cameras[1])
    np.testing.assert_array_equal(np.load(runs / made["whitened"][0] / "feats.npy"), want)
    white = [np.load(runs / key / "feats.npy") for key in made["whitened"]]
    for key, feats in zip(made["expanded"], query_expansion.database(white, 5), strict=True):
        np.testing.assert_allclose(np.load(runs / key / "feats.npy"), feats, atol=1e-6)
    make.main(["--runs", str(runs), "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert ("whitened by query and gallery, which some competitions forbid" in told) == (name == "test")
    signatures = [r["signature"] for r in json.loads((tmp_path / "out/score.json").read_text())["scores"]["test"]]
    where = {"test": "query+gallery", "train": "training"}[name]
    assert all(f"|whiten={name}(shrinkage=0.2,center=camera),{where}|" in x for x in signatures)
    store = Store(runs)
    assert {extracted(store, key).split("-")[0] for key in made["expanded"]} == {"features/a", "features/b"}
    used = used_by(ResultHistory(store), [made["rankings"][0]])
    assert used >= {key for keys in made.values() for key in keys} and len([k for k in used if "members/" in k]) == 2


def test_another_recipe_makes_another_member_and_keeps_the_old(again, runs, capsys):
    before = kept(runs)
    said = say_build(capsys, *again, "--members", "a", "--set", "recipe.epochs=2")
    assert "kept: none; to make: a" in said
    assert {k: v for k, v in kept(runs).items() if k in before} == before
    assert len(new(before, runs, "members")) == 1 and len(new(before, runs, "features")) == 1
    assert new(before, runs, "images") == []


def test_a_changed_picture_changes_every_address(people, tiny_build, runs, again, tmp_path, capsys):
    """Same names, other pixels: nothing of the old may be read."""
    shutil.copytree(people, tmp_path / "people")
    picture = sorted((tmp_path / "people" / "bounding_box_train").iterdir())[0]
    Image.new("RGB", (32, 64), "red").save(picture)
    again[again.index("--data") + 1] = str(tmp_path / "people")
    assert "kept: none; to make: a, b" in say_build(capsys, *again, "--dry-run")


def test_dry_run_makes_nothing(people, tmp_path, capsys):
    argv = ["--members", "a,b", "--data", people, "--out", tmp_path / "runs", *TINY, "--dry-run"]
    assert "to make: a, b" in say_build(capsys, *argv)
    assert kept(tmp_path / "runs") == {} and not list((tmp_path / "runs").glob("*/*"))


@pytest.fixture(scope="module")
def one_thread():
    """Sums of one thread, as `run_command` has them: another number of threads rounds otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def undisturbed(people, tmp_path_factory, one_thread):
    """The submission of the command that the next test kills, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    build.main(["--members", "a,b", "--data", str(people), "--out", str(folder / "runs"), *KILLED])
    return submitted(folder / "runs", folder)


@pytest.mark.parametrize("moment", ["members/.a-*.part/epochs.jsonl", "features/a-*/manifest.json"])
def test_killed_and_started_again(people, tmp_path, moment, undisturbed, one_thread, capsys, forked):
    """SIGKILL while it trains, and after the first member: the same submission, byte for byte."""
    runs = tmp_path / "runs"
    argv = ["--members", "a,b", "--data", str(people), "--out", str(runs), *KILLED]
    with open(os.devnull, "w") as nowhere:
        process = forked.start([sys.executable, "-m", "ensemble.build", *argv], cwd=tmp_path, stderr=nowhere.fileno())
    give_up = time.monotonic() + 120
    while not list(runs.glob(moment)) and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not list(runs.glob("builds/*"))
    say_build(capsys, *argv)
    assert submitted(runs, tmp_path) == undisturbed
    assert not list(runs.glob("*/.*.part"))


def submitted(runs, folder):
    make.main(["--runs", str(runs), "--out", str(folder / "submission")])
    return (folder / "submission" / "submission.json").read_bytes()


@pytest.fixture(scope="module")
def naic(people, tmp_path_factory):
    """The drawn people as NAIC lays its data out: a label list, and test folders without identities."""
    root = tmp_path_factory.mktemp("naic")
    for folder in ("train/images", "test/query", "test/gallery"):
        (root / folder).mkdir(parents=True)
    lines = []
    for picture in sorted((people / "bounding_box_train").iterdir()):
        name = f"{len(lines):08d}.jpg"
        shutil.copy(picture, root / "train/images" / name)
        lines.append(f"{name}:{int(picture.name[:4])}")
    (root / "train/label.txt").write_text("\n".join(lines) + "\n")
    for old, folder, count in (("query", "query", 5), ("bounding_box_test", "gallery", 20)):
        for number, picture in enumerate(sorted((people / old).iterdir())[:count]):
            shutil.copy(picture, root / "test" / folder / f"{number:08d}.jpg")
    return root


def test_held_out_identities_where_the_test_has_none(naic, tmp_path, capsys):
    tiny = TINY[: TINY.index("--layout")] + TINY[TINY.index("--layout") + 2 :]
    argv = ["--members", "a", "--competition", "naic2020", "--data", naic, "--out", tmp_path / "runs", *tiny]
    said = say_build(capsys, *argv, "--set", "ensemble.k1=5", "--holdout", 0.34)
    assert "of 4 identities" in said  # 6 identities with several images, 2 of them kept aside
    assert "test 5 queries x 20 gallery images, no identities" in said and "holdout" in said
    make.main(["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "sub")])
    out = capsys.readouterr().out
    assert "test: no query has a right image that is known and counts, so there is nothing to score" in out
    assert "holdout: " in out and "AP 'hits' at 200, no junk" in out
    handed = json.loads((tmp_path / "sub/submission.json").read_text())
    gallery = sorted(p.name for p in (naic / "test/gallery").iterdir())
    assert sorted(handed) == sorted(p.name for p in (naic / "test/query").iterdir())
    assert all(sorted(names) == gallery for names in handed.values())
    scores = json.loads((tmp_path / "sub/score.json").read_text())["scores"]
    assert scores["test"] == [] and len(scores["holdout"]) == 2


# --------------------------------------------------------------------------------------------------------------------
# Bad input: status 2, one sentence, nothing half-made
# --------------------------------------------------------------------------------------------------------------------


def refused(capsys, runs, *argv):
    """The sentence a build ends with; it must leave with status 2 and no result behind but decoded images."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: build.main([str(a) for a in argv] + ["--out", str(runs)]))
    err = capsys.readouterr().err
    assert left.value.code == 2, err
    assert "Traceback" not in err
    assert not [k for k in kept(runs) if not k.startswith(("images/", "weights/", "members/"))]
    return err.splitlines()[-1].removeprefix("error: ")


def market(root, train=("0001_c1_0.jpg", "0001_c2_0.jpg", "0002_c1_0.jpg", "0002_c2_0.jpg"), query=(), gallery=()):
    """A Market-1501 folder of plain pictures."""
    for folder, names in (("bounding_box_train", train), ("query", query), ("bounding_box_test", gallery)):
        (root / folder).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (32, 64), (hash(name) % 256, 90, 90)).save(root / folder / name)
    return root


TEST = {"query": ["0003_c1_0.jpg"], "gallery": ["0003_c2_0.jpg", "0000_c2_0.jpg"]}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--members", "r5O"], "unknown member 'r5O'; configs/members.yaml has: r50, rx50"),
        (["--members", ""], "no member named"),
        (["--members", "a,a"], "'a' is named twice"),
        (["--set", "recipe.lr=1"], "unknown key 'lr'; it knows: size, epochs"),
        (["--set", "recipe.epochs=0"], "epochs"),
        (["--set", "recipe.identities_per_batch=7", "--dry-run"], "identities_per_batch 7 is more than the 6 training"),
        (
            ["--set", "recipe.losses.hinge.weight=1"],
            "unknown loss 'hinge'; models/registry.py has: id, focal, arcface",
        ),
        (["--set", "members.a.head=mgm"], "unknown head 'mgm'; models/registry.py has: global, mgn"),
        (["--set", "recipe.optimizer.lrr=1"], "'lrr'"),
        (["--set", "members.a.backbone.depht=50"], "'depht'; it has: depth"),
        (["--data", "/no/such/folder"], "/no/such/folder: no such folder"),
        (["--layout", "markt1501"], "unknown layout 'markt1501'"),
        (["--competition", "naic"], "unknown competition 'naic'; configs/competitions has"),
        (["--holdout", "1.5"], "--holdout 1.5: must be a share"),
        (["--workers", "two"], "--workers"),
    ],
)
def test_a_request_that_cannot_be_met(people, tmp_path, capsys, argv, words):
    assert words in refused(capsys, tmp_path / "runs", "--members", "a", "--data", people, *TINY, *argv)


def test_an_unknown_key_in_a_yaml_file(tmp_path):
    from configs.errors import ConfigError
    from configs.load import load_build_config

    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    with open(tmp_path / "configs" / "ensemble.yaml", "a", encoding="utf-8") as f:
        f.write("lamda: 0.3\n")
    with pytest.raises(ConfigError, match=r"ensemble.yaml: unknown key 'lamda'; it knows: .*lam"):
        load_build_config(["r50"], folder=tmp_path / "configs")


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        (TEST | {"query": []}, "the query list of layout 'market1501' is empty"),
        (TEST | {"gallery": []}, "the gallery list of layout 'market1501' is empty"),
        (TEST | {"train": []}, "the train list of layout 'market1501' is empty"),
        (TEST | {"gallery": ["0004_c2_0.jpg"]}, "query and gallery share no identity (1 and 1 identities)"),
        (TEST | {"train": ["0001_c1_0.jpg", "0002_c1_0.jpg"]}, "at least 2 identities are needed"),
        (TEST | {"query": ["picture.jpg"]}, "picture.jpg: the name must begin with person and camera"),
    ],
)
def test_a_data_set_that_cannot_serve(tmp_path, capsys, lists, words):
    root = market(tmp_path / "data", **lists)
    argv = ["--members", "a", "--data", root, *TINY, "--layout", "market1501"]
    assert words in refused(capsys, tmp_path / "runs", *argv)


@pytest.mark.parametrize("folder", ["bounding_box_train", "bounding_box_test"])
def test_a_truncated_picture(people, tmp_path, capsys, folder):
    shutil.copytree(people, tmp_path / "people")
    picture = sorted((tmp_path / "people" / folder).glob("0*"))[3]
    picture.write_bytes(picture.read_bytes()[:600])
    argv = ["--members", "a", "--data", tmp_path / "people", *TINY]
    said = refused(capsys, tmp_path / "runs", *argv)
    assert f"{picture}: cannot be decoded (truncated after 600 bytes)" in said and "skip" in said
    parts = (tmp_path / "runs").glob("*/.*.part")
    assert all((part / "resume").exists() for part in parts)  # shards of the query's features may wait there


def test_weights_of_another_backbone(people, tmp_path, capsys):
    torch.save({"fc.weight": torch.zeros(3, 4), "layer1.0.conv1.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    weights = f"members.a.weights={{file: {tmp_path / 'other.pth'}}}"
    argv = ["--members", "a", "--data", people, *TINY, "--set", "recipe.pretrained=true", "--set", weights]
    said = refused(capsys, tmp_path / "runs", *argv)
    assert "other.pth" in said and "of the backbone's 140 names are in it" in said


def test_features_that_are_not_numbers(people, tmp_path, capsys):
    """A rate so high that the only step leaves weights whose features overflow."""
    argv = ["--members", "a", "--data", people, *TINY, "--set", "recipe.optimizer.lr=1e36"]
    said = refused(capsys, tmp_path / "runs", *argv, "--set", "recipe.schedule.warmup=0")
    assert "not finite" in said or "not a finite number" in said
    assert "lr" in said
    assert not list((tmp_path / "runs").glob("features/*"))


def test_a_folder_in_the_way_of_the_drawn_people(tmp_path, capsys):
    (tmp_path / "runs" / "drawn-people").mkdir(parents=True)
    (tmp_path / "runs" / "drawn-people" / "mine.txt").write_text("")
    said = refused(capsys, tmp_path / "runs", "--members", "r50")
    assert "drawn-people" in said and "choose another folder" in said


def test_help_opens_with_an_example(capsys):
    for main in (build.main, make.main):
        with pytest.raises(SystemExit) as left:
            main(["--help"])
        out = capsys.readouterr().out
        assert left.value.code == 0 and out.startswith("example:\n  python -m ensemble.build")
        assert "python -m submit.make" in out and max(map(len, out.splitlines())) <= 120


def test_kept_features_that_were_touched_are_made_again(again, runs, capsys):
    """A flipped bit is found by its SHA-256 and mended, not read."""
    feats = next(runs.glob("features/a-*/feats.npy"))
    good = feats.read_bytes()
    array = np.load(feats)
    array[0, 0] += 1
    np.save(feats, array)
    said = say_build(capsys, *again)
    assert "damaged" in said and feats.read_bytes() == good


def test_a_folder_is_recognised_and_said(people, tmp_path, capsys):
    tiny = TINY[: TINY.index("--layout")] + TINY[TINY.index("--layout") + 2 :]
    said = say_build(capsys, "--members", "a", "--data", people, "--out", tmp_path / "runs", *tiny, "--dry-run")
    assert "layout drawn, recognised by drawn.json" in said and "6 identities" in said
    said = refused(capsys, tmp_path / "runs", "--members", "a", "--data", tmp_path, *tiny)
    assert "no layout is recognised" in said and "--layout" in said


def test_everything_is_told_as_json_lines(tiny_build):
    """Each result begun and done, each epoch as `epochs.jsonl` has it, what was said, and the end."""
    events = [json.loads(line) for line in (tiny_build.runs / "logs" / "build.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "build" and "--members a,b" in events[0]["command"]
    events = events[: 1 + [e["event"] for e in events].index("built")]
    for what in ("begun", "done"):
        assert {e["key"] for e in events if e["event"] == what} == tiny_build.made
    for folder in tiny_build.runs.glob("members/*"):
        line = json.loads((folder / "epochs.jsonl").read_text())
        (epoch,) = (e for e in events if e["event"] == "epoch" and e["member"] == folder.name[0])
        assert {k: epoch[k] for k in line} == line
    assert events[-1]["event"] == "built" and not [e for e in events if e["event"] == "failed"]
