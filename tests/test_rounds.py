"""Rounds: what was labelled joins what is known, each round is kept, and every result made with it says so."""

import csv
import json
import re
import shutil

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.store.store import Store
from ensemble import build
from ensemble.planning import monitor
from ensemble.pseudo import rounds
from ensemble.results.build_record import last_build, load_record
from ensemble.results.pseudo_settings import guessed_labels
from ensemble.results.ranking import load_ranking
from submit import make
from tests.conftest import TINY

ASK = ["--rounds", "2", "--set", "ensemble.pseudo.threshold=0.3"]


def say_build(capsys, *argv):
    capsys.readouterr()
    build.main([str(a) for a in argv])
    return capsys.readouterr().err


@pytest.fixture(scope="module")
def two(people, tiny_build, tmp_path_factory):
    """A build of two rounds on top of one of a single round: its results, command, and what it said."""
    runs = tmp_path_factory.mktemp("rounds") / "runs"
    shutil.copytree(tiny_build.runs, runs)
    before = {p.parent.name for p in runs.glob("members/*/manifest.json")}
    argv = ["--members", "a,b", "--data", str(people), "--out", str(runs), *TINY, *ASK]
    build.main(argv)
    return runs, argv, before


def record_of(runs):
    store = Store(runs)
    return load_record(store.open(last_build(store)))


def test_the_first_round_is_found_and_the_second_trained(two):
    runs, _, before = two
    assert len(before) == 2 and before < {p.parent.name for p in runs.glob("members/*/manifest.json")}
    assert len(list(runs.glob("members/*/manifest.json"))) == 4
    assert len(list(runs.glob("rounds/round-2-*/manifest.json"))) == 1


def test_the_report_is_of_the_kept_labels(two, people):
    runs, _, _ = two
    (done,) = record_of(runs).rounds
    folder = runs / done["labels"]
    with open(people / "unlabelled_ids.csv", encoding="utf-8") as f:
        truth = {f"unlabelled/{row['name']}": int(row["pid"]) for row in csv.DictReader(f)}
    with open(folder / "labels.csv", encoding="utf-8") as f:
        label = {row["name"]: int(row["label"]) for row in csv.DictReader(f)}
    assert set(label) == set(truth)
    pairs = [(x, y) for x in label for y in label if x < y]
    grouped = [label[x] == label[y] != -1 for x, y in pairs]
    same = [truth[x] == truth[y] for x, y in pairs]
    both = sum(g and s for g, s in zip(grouped, same, strict=True))
    assert done["labelled"] == sum(v >= 0 for v in label.values())
    assert done["labelled"] >= done["joined"] == sum(joining(list(label.values()))) > 0
    assert done["precision"] == pytest.approx(both / sum(grouped))
    assert done["recall"] == pytest.approx(both / sum(same))
    assert json.loads((folder / "report.json").read_text())["groups"] == done["groups"]


def test_what_is_trained_on(two, people):
    """The classes are those of before, and a new one a group; the images are the known, then the labelled."""
    runs, _, before = two
    (done,) = record_of(runs).rounds
    classes = {p.parent.name: json.loads(p.read_text())["pids"] for p in runs.glob("members/*/labels.json")}
    old = next(pids for name, pids in classes.items() if name in before)
    new = next(pids for name, pids in classes.items() if name not in before)
    with open(runs / done["labels"] / "labels.csv", encoding="utf-8") as f:
        label = [int(row["label"]) for row in csv.DictReader(f)]
    groups = {g for g, joins in zip(label, joining(label), strict=True) if joins}
    assert new[: len(old)] == old and len(new) == len(old) + len(groups) > len(old)
    packed = packed_in(runs)
    assert np.array_equal(packed["train-2"], with_labelled(packed, runs / done["labels"]))


def packed_in(runs):
    """What lies in each array of decoded images: by its name without the hash."""
    return {p.parent.name.rsplit("-", 1)[0]: np.load(p) for p in runs.glob("images/*/images.npy")}


def joining(labels):
    """Of each image whether it is in a group of two or more, as `recipe.min_images` asks."""
    return [label >= 0 and labels.count(label) > 1 for label in labels]


def with_labelled(packed, labels):
    """The training images that are known, then those of the pool that these labels give a group of two or more."""
    with open(labels / "labels.csv", encoding="utf-8") as f:
        kept = joining([int(row["label"]) for row in csv.DictReader(f)])
    return np.concatenate((packed["train"], packed["unlabelled"][kept]))


def test_other_known_identities_make_another_report_and_no_other_member(two, people, tmp_path, capsys):
    runs, folder = tmp_path / "runs", tmp_path / "people"
    shutil.copytree(two[0], runs)
    shutil.copytree(people, folder)
    rows = (folder / "unlabelled_ids.csv").read_text(encoding="utf-8").splitlines()
    strangers = [f"{row.split(',')[0]},{900 + i}" for i, row in enumerate(rows[1:])]
    (folder / "unlabelled_ids.csv").write_text("\n".join([rows[0], *strangers]) + "\n", encoding="utf-8")
    argv = list(two[1])
    argv[argv.index("--data") + 1], argv[argv.index("--out") + 1] = str(folder), str(runs)
    said = say_build(capsys, *argv)
    assert "training a," not in said
    (done,) = record_of(runs).rounds
    assert done["precision"] == 0 and done["joined"] == record_of(two[0]).rounds[0]["joined"]


def test_a_third_round_labels_anew(two, tmp_path):
    """What the second round guessed is forgotten: the third trains on what is known, and on its own labels."""
    runs = tmp_path / "runs"
    shutil.copytree(two[0], runs)
    argv = [*two[1][:-4], *ASK[2:], "--rounds", "3"]
    argv[argv.index("--out") + 1] = str(runs)
    build.main(argv)
    second, third = record_of(runs).rounds
    assert (second["round"], third["round"]) == (2, 3) and second["labels"] != third["labels"]
    packed = packed_in(runs)
    for done in (second, third):
        assert np.array_equal(packed[f"train-{done['round']}"], with_labelled(packed, runs / done["labels"]))


def test_every_result_says_so(two, tmp_path, capsys):
    runs, _, _ = two
    make.main(["--runs", str(runs), "--out", str(tmp_path / "sub")])
    out = capsys.readouterr().out
    assert "note: round 2 trained on" in out and "unlabelled images, labelled by loop_search(threshold=0.3)" in out
    ranking = load_ranking(Store(runs).open(record_of(runs).evaluations["test"].ranking))
    assert ranking.signature.endswith("|pseudo=loop_search(threshold=0.3),rounds=2,unlabelled")
    written = json.loads((tmp_path / "sub" / "score.json").read_text())
    assert written["rounds"] == record_of(runs).rounds
    assert all(
        "|pseudo=loop_search(threshold=0.3),rounds=2,unlabelled|" in r["signature"] for r in written["scores"]["test"]
    )


def test_nothing_is_done_twice(two, capsys):
    runs, argv, _ = two
    there = {p: p.stat().st_mtime_ns for p in runs.glob("*/*/manifest.json")}
    said = say_build(capsys, *argv, "--dry-run")
    assert "round 1: kept: a, b; to make: none" in said and "round 2: kept: a, b; to make: none" in said
    say_build(capsys, *argv)
    assert {p: p.stat().st_mtime_ns for p in runs.glob("*/*/manifest.json")} == there


def test_another_threshold_keeps_the_first_round(two, capsys):
    _, argv, _ = two
    said = say_build(capsys, *argv, "--set", "ensemble.pseudo.threshold=0.2", "--dry-run")
    assert "round 1: kept: a, b; to make: none" in said
    assert "by loop_search(threshold=0.2), and trains again with them; the cost assumes" in said


def test_all_rounds_are_forecast(two, people, tmp_path, capsys):
    """Nothing is there: members are trained in both rounds, and the second packs what the first did and the pool."""
    runs, argv, _ = two
    argv = [
        *argv[: argv.index("--out")],
        "--out",
        str(tmp_path / "runs"),
        *argv[argv.index("--out") + 2 :],
        "--dry-run",
    ]
    told = [disk_of(say_build(capsys, *argv, "--rounds", str(n))) for n in (1, 2, 3)]
    taken = {kind: sum(p.stat().st_size for p in runs.glob(f"{kind}/*/*")) for kind in ("images", "members")}
    assert told[1]["members"] == pytest.approx(taken["members"], rel=0.02)
    assert told[1]["members"] == pytest.approx(2 * told[0]["members"], rel=0.02)
    assert told[1]["images"] == pytest.approx(taken["images"], rel=0.05)  # all of the pool joins; here it did
    one, other = (told[n + 1]["members"] - told[n]["members"] for n in (0, 1))
    assert one == pytest.approx(other, rel=0.02)
    assert told[2]["neighbours"] == told[0]["neighbours"]


def disk_of(said):
    """Kind -> bytes, from the line that forecasts them."""
    (line,) = [x for x in said.splitlines() if x.startswith("disk: ")]
    units = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
    found = re.findall(r"(\w+) ([\d.]+) (B|KB|MB|GB)", line.partition("(")[2])
    return {kind: float(n) * units[unit] for kind, n, unit in found}


def test_the_bar_knows_the_second_round(people, tmp_path, monkeypatch):
    """Supposed images and members are replaced by those that are made: at the end nothing of the list is left."""
    seen, real = [], monitor.BuildTable.__exit__

    def at_the_end(screen, *reason):
        seen.append((screen.whole.share(), len([s for s in screen.whole.stages if s.startswith("members/")])))
        return real(screen, *reason)

    monkeypatch.setattr(monitor.BuildTable, "__exit__", at_the_end)
    build.main(["--members", "a", "--data", str(people), "--out", str(tmp_path / "runs"), *TINY, *ASK])
    assert seen == [(1.0, 2)]


def test_stopped_between_the_rounds(two, tmp_path, monkeypatch, capsys):
    """Stopped after the labels, and gone on: the labels are found, and the members are the same as without."""
    runs, argv, before = two
    copy = tmp_path / "runs"
    shutil.copytree(runs, copy)
    for kind in ("members", "features", "rankings", "neighbours", "builds"):
        for folder in (copy / kind).iterdir():
            if kind != "members" or folder.name not in before:
                shutil.rmtree(folder)
    labels = next(copy.glob("rounds/*/labels.csv")).stat().st_mtime_ns
    monkeypatch.setattr(rounds, "find_groups", lambda *_, **__: pytest.fail("the labels were there"))
    argv = [*argv[: argv.index("--out")], "--out", str(copy), *argv[argv.index("--out") + 2 :]]
    build.main(argv)
    assert next(copy.glob("rounds/*/labels.csv")).stat().st_mtime_ns == labels
    for name in ("a", "b"):
        (one,) = [p for p in runs.glob(f"members/{name}-*/weights.safetensors") if p.parent.name not in before]
        assert (copy / "members" / one.parent.name / one.name).exists()


def test_test_images_are_asked_for_by_name(two, people, capsys):
    _, argv, _ = two
    said = say_build(capsys, *argv, "--set", "ensemble.pseudo.test=true", "--dry-run")
    count = sum(
        len(list((people / f).glob(g))) for f, g in (("unlabelled", "*"), ("query", "*"), ("bounding_box_test", "0*"))
    )
    assert f"labels {count:,} images (test images among them)" in said
    plan = load_build_config(["r50"], sets=["ensemble.rounds=2", "ensemble.pseudo.test=true"])
    assert guessed_labels(plan.ensemble)["pseudo"].endswith(",rounds=2,unlabelled+test")
    assert guessed_labels(load_build_config(["r50"]).ensemble) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ensemble.pseudo.threshold=1e-6", "labels none of"),
        ("ensemble.pseudo={method: clusters, groups: 5000}", "clusters: 5000 groups of"),
        ("ensemble.pseudo.method=kmeans", "loop_search"),
        ("ensemble.rounds=0", "rounds"),
    ],
)
def test_what_cannot_be(two, change, words):
    _, argv, _ = two
    with pytest.raises(ConfigError, match=words):
        build.main([*argv[:-4], "--set", "ensemble.rounds=2", "--set", change])


def test_nothing_to_label(two, people, tmp_path):
    shutil.copytree(people, tmp_path / "people")
    for picture in (tmp_path / "people" / "unlabelled").iterdir():
        picture.unlink()
    _, argv, _ = two
    argv = [str(tmp_path / "people") if a == str(people) else a for a in argv]
    with pytest.raises(ConfigError, match=r"has no unlabelled images\. --set ensemble.pseudo.test=true"):
        build.main([*argv, "--dry-run"])
