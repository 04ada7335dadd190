"""ensemble.build --folds and ensemble.tune by their commands: nothing leaks, all is kept, a stopped build goes on."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import ensemble
from configs.console.command import run
from configs.store.store import Store
from ensemble import build, runs, verify
from ensemble.pipeline import folds, member_pool
from ensemble.results.build_record import open_build
from models.data.drawn import draw_people
from models.data.layouts import read_layout
from tests.conftest import TINY, run_command
from tests.tables import write_member

MEMBERS = "a@0,a@1"
FOLDS = 2


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """16 training people; one of each two in a row has a recompressed picture of the other: pairs are one group."""
    root = draw_people(tmp_path_factory.mktemp("crowd") / "people", ids=32, size=(64, 32), n_jobs=1)
    split = read_layout("drawn", root).train
    people = sorted(set(split.pids.tolist()))
    for one, other in ((people[0], people[5]), (people[5], people[9])):
        path = next(p for p, pid in zip(split.paths, split.pids, strict=True) if pid == one)
        Image.open(path).save(root / "bounding_box_train" / f"{other:04d}_c1s1_009999_00.jpg", quality=80)
    return SimpleNamespace(root=root, alike=[people[0], people[5], people[9]], split=read_layout("drawn", root).train)


def argv_of(crowd, root, *more, members=MEMBERS):
    return ["--members", members, "--data", str(crowd.root), "--runs", str(root), *TINY, "--folds", str(FOLDS), *more]


@pytest.fixture(scope="module")
def built(crowd, tmp_path_factory):
    """The build by its command, in a process of its own."""
    root = tmp_path_factory.mktemp("folded") / "runs"
    done = run_command("ensemble.build", *argv_of(crowd, root))
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(root=root, said=done.stderr)


def record_of(root):
    return open_build(Store(root, lambda text: None))[1]


def manifest(root, key):
    return json.loads((root / key / "manifest.json").read_text())["request"]


def names_of(root, bank):
    names = json.loads((root / bank / "names.json").read_text())
    assert names["query"] == []
    return names["gallery"]


def result(root, kind, digest):
    """The folder of the one result of a kind with this digest."""
    (found,) = root.glob(f"{kind}/*-{digest}")
    return found


def test_each_training_image_is_in_one_fold_with_its_identity_and_its_near_duplicates(crowd, built):
    told = record_of(built.root).folds
    every = [names_of(built.root, bank) for fold in told.folds for bank in fold.banks.values()]
    assert every[0] == every[1] and every[2] == every[3]  # of both members
    wanted = [name for name, pid in zip(crowd.split.names, crowd.split.pids, strict=True) if pid >= 0]
    counts = np.unique(crowd.split.pids, return_counts=True)
    several = {int(pid) for pid, n in zip(*counts, strict=True) if n > 1}
    pid_of = dict(zip(crowd.split.names, crowd.split.pids.tolist(), strict=True))
    assert sorted(every[0] + every[2]) == sorted(name for name in wanted if pid_of[name] in several)
    sides = [{pid_of[name] for name in names} for names in (every[0], every[2])]
    assert not sides[0] & sides[1] and min(map(len, sides)) >= 2
    assert {*crowd.alike} <= sides[0] or {*crowd.alike} <= sides[1]
    assert "3 identities have near-duplicates of one another and stay in one fold with these" in built.said
    for fold, names in zip(told.folds, (every[0], every[2]), strict=True):
        assert fold.pids == [pid_of[name] for name in names] and set(fold.camids) <= set(crowd.split.camids.tolist())


def test_a_folds_features_come_from_a_network_that_saw_none_of_its_images(crowd, built):
    """By the pixels themselves: the pack that its weights were trained on, and the pack that they extracted."""
    path_of = dict(zip(crowd.split.names, crowd.split.paths, strict=True))
    whole = np.load(next(built.root.glob("images/train-[0-9a-f]*/images.npy")))
    for fold in record_of(built.root).folds.folds:
        for bank in fold.banks.values():
            asked = manifest(built.root, bank)
            weights = result(built.root, "members", asked["weights"])
            seen = np.load(
                result(built.root, "images", manifest(built.root, f"members/{weights.name}")["images"]) / "images.npy"
            )
            own = np.load(result(built.root, "images", asked["gallery"]) / "images.npy")
            names = names_of(built.root, bank)
            for name, pixels in zip(names, own, strict=True):
                assert (np.asarray(Image.open(path_of[name]).convert("RGB")) == pixels).all()
            trained, left = ({image.tobytes() for image in pack} for pack in (seen, own))
            assert not trained & left
            assert trained | left == {image.tobytes() for image in whole} and len(seen) + len(own) == len(whole)
            feats = np.load(built.root / bank / "feats.npy")
            assert len(feats) == len(own) and np.allclose(np.linalg.norm(feats, axis=1), 1, atol=1e-5)
        assert len(set(fold.banks.values())) == 2, "each seed has features of its own"


def test_the_plain_member_and_a_second_run_make_nothing(crowd, built, tmp_path, capsys):
    root = shutil.copytree(built.root, tmp_path / "runs")
    kinds = ("members", "features", "images", "hashes")
    before = {kind: {p.name for p in root.glob(f"{kind}/*")} for kind in kinds}
    build.main(argv_of(crowd, root, members="a"))
    said = capsys.readouterr().err
    assert "training" not in said and said.count("kept: a; to make: none") == 1 + FOLDS
    assert {kind: {p.name for p in root.glob(f"{kind}/*")} for kind in kinds} == before
    build.main(argv_of(crowd, root))
    said = capsys.readouterr().err
    assert "training" not in said and "kept: a@0, a@1; to make: none" in said and "nothing to make" in said


def test_runs_and_verify_know_them(built, tmp_path, capsys):
    root = shutil.copytree(built.root, tmp_path / "runs")
    runs.main(["--runs", str(root), "--prune", "--yes"])
    assert "nothing to remove: every result is used by a recorded build" in capsys.readouterr().out
    fold = record_of(root).folds.folds[0]
    assert verify.main(["--runs", str(root)]) == 0
    bank = root / fold.banks["a@0"] / "feats.npy"
    bank.write_bytes(bank.read_bytes()[:-4] + b"0000")
    capsys.readouterr()
    assert verify.main(["--runs", str(root)]) == 1 and fold.banks["a@0"] in capsys.readouterr().out


def test_weights_of_a_fold_stay_where_its_features_are_gone(built, tmp_path):
    """A record names all behind it, so that what is restored later need not be trained again."""
    root = shutil.copytree(built.root, tmp_path / "runs")
    bank = record_of(root).folds.folds[1].banks["a@1"]
    weights = result(root, "members", manifest(root, bank)["weights"])
    shutil.rmtree(root / bank)
    assert {one.path: one.used for one in runs.results_of(Store(root))}[weights] == "last build"


def sizes(text, kind):
    """Bytes of a kind in the forecast."""
    number, unit = re.search(rf"{kind} ([\d.]+) (B|KB|MB)", text).groups()
    return float(number) * {"B": 1, "KB": 1e3, "MB": 1e6}[unit]


def test_a_dry_run_counts_the_folds_and_leaves_nothing(crowd, built, tmp_path, capsys):
    build.main(argv_of(crowd, tmp_path / "runs", "--dry-run"))
    said = capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("[!.]*/*"))
    for number, fold in enumerate(record_of(built.root).folds.folds, 1):
        line = next(line for line in said.splitlines() if line.startswith(f"fold {number} of {FOLDS}: "))
        assert f"without {len(fold.pids):,} of {len(set(fold.pids))}" in line and "to make: a@0, a@1" in line
    for kind in ("images", "members", "features"):
        kept = sum(p.stat().st_size for p in built.root.glob(f"{kind}/[!.]*/*"))
        assert sizes(said, kind) == pytest.approx(kept, rel=0.06), kind
    assert re.search(r"time: some \d+ s", said)


def contents(root):
    """Every byte that members, features and images of the folds are made of; of the metrics all but the seconds."""
    found = {}
    for path in (p for kind in ("members", "features", "images", "hashes") for p in root.glob(f"{kind}/[!.]*/*")):
        if path.name not in ("manifest.json", "epochs.jsonl"):
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


@pytest.fixture
def one_thread():
    """As `built` has it: the last bits of weights depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_build_that_was_stopped_in_a_fold_goes_on_from_there_in_parallel(
    crowd, built, tmp_path, forked, capsys, monkeypatch, one_thread
):
    """Stopped before the second fold; then the same build with two members at a time: every byte is the same."""
    root, real, begun = tmp_path / "runs", folds.make_members, []

    def stop(context, plan):
        begun.append(next(iter(plan.tests)))
        if len(begun) == 2:
            raise KeyboardInterrupt
        real(context, plan)

    monkeypatch.setattr(folds, "make_members", stop)
    with pytest.raises(KeyboardInterrupt):
        build.main(argv_of(crowd, root))
    assert begun == [f"fold1of{FOLDS}", f"fold2of{FOLDS}"] and not list(root.glob("builds/[!.]*"))
    monkeypatch.setattr(folds, "make_members", real)
    monkeypatch.setattr(member_pool, "subprocess", SimpleNamespace(Popen=forked.start, DEVNULL=None))
    capsys.readouterr()
    build.main(argv_of(crowd, root, "--parallel", "2"))
    said = capsys.readouterr().err
    assert "fold 1 of 2: trains on" in said and said.count("training a@0") == said.count("training a@1") == 1
    made = contents(root)
    assert made == contents(built.root) and any(key.startswith("features/a-fold2of2") for key in made)


def test_tune_by_its_command_on_what_the_build_made(built, tmp_path):
    root = shutil.copytree(built.root, tmp_path / "runs")
    done = run_command("ensemble.tune", "--runs", root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{FOLDS} folds of the training identities, each a board of its own")
    assert "chosen on training identities" in done.stdout
    assert json.loads((root / next(root.glob("tuned/*-train-*/tuned.json"))).read_text())["folds"][0]["persons"] >= 5


def test_in_python(built):
    made = ensemble.open_build(built.root)
    folds = made.fold_features("a@1")
    for (names, feats), fold in zip(folds, record_of(built.root).folds.folds, strict=True):
        assert list(names) == names_of(built.root, fold.banks["a@1"])
        assert (feats == np.load(built.root / fold.banks["a@1"] / "feats.npy")).all()
    with pytest.raises(ValueError, match="unknown member 'b'; this build has: a@0, a@1"):
        made.fold_features("b")


def test_what_cannot_be_folded(crowd, tmp_path, capsys):
    write_member(tmp_path / "m.npz", {name: i for i, name in enumerate(crowd.split.names)})
    for more, words in (
        (["--folds", "1"], "--folds"),
        (["--folds", "9"], " training identities give a fold of"),
        (["--rounds", "2"], "--folds 2: folds are for one round of training"),
        (["--set", "recipe.identities_per_batch=12"], "identities_per_batch 12 is more than the"),
    ):
        with pytest.raises(SystemExit) as left:
            run(lambda more=more: build.main(argv_of(crowd, tmp_path / "runs", *more)))
        assert left.value.code == 2 and words in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("members/*"))


def test_views_of_another_size_are_decoded_for_a_fold_too(crowd, built, tmp_path, capsys):
    """Nothing is trained again; the fold's pictures lie in both sizes, and its features are others."""
    root = shutil.copytree(built.root, tmp_path / "runs")
    before = record_of(root).folds.folds[0].banks["a@0"]
    build.main(argv_of(crowd, root, "--set", "ensemble.views=[plain, {name: scale, size: [96, 48]}]"))
    assert "training" not in capsys.readouterr().err
    after = record_of(root).folds.folds[0].banks["a@0"]
    assert manifest(root, after)["weights"] == manifest(root, before)["weights"]
    pack = result(root, "images", manifest(root, after)["gallery"])
    shapes = sorted(np.load(path, mmap_mode="r").shape[1:] for path in pack.glob("*.npy"))
    assert shapes == [(64, 32, 3), (96, 48, 3)] and names_of(root, after) == names_of(root, before)
    feats = [np.load(root / bank / "feats.npy") for bank in (before, after)]
    assert np.abs(feats[0] - feats[1]).max() > 1e-3
