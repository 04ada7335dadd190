"""Each seed that a plan or a command line gives reaches what it is of: what is drawn is of that seed and no other."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from configs.console.progress import Progress
from configs.load import load_build_config
from configs.recipe import Resample
from configs.store.store import Address, Store
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import plan_build
from ensemble.pseudo import rounds
from ensemble.pseudo.clustering import clusters
from ensemble.pseudo.unlabelled_pool import plan_with_pseudo_labels, unlabelled_pool
from models.data.augment import Seat, image_rng, random_patch
from models.data.balance import balance
from models.data.heldout.holdout import hold_out
from models.data.pk_sampler import Sampling, pk_batches
from models.data.split import Benchmark, make_split
from models.registry import make_augments
from tests import tiny
from tests.features import unit_rows

LABELS = np.repeat(np.arange(10), 4)  # of what is not labelled


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """20 identities of 4 images by two cameras to train on, and 40 unlabelled images, 8x8 each."""
    root = tmp_path_factory.mktemp("seeds")
    lists = {"train": [], "query": [], "gallery": [], "unlabelled": []}
    for part, pids in (
        ("train", np.repeat(np.arange(20), 4)),
        ("query", [90]),
        ("gallery", [90]),
        ("unlabelled", [-1] * 40),
    ):
        (root / part).mkdir()
        for i, pid in enumerate(pids):
            path = root / part / f"{i:03d}.png"
            Image.new("RGB", (8, 8), (i, len(part), 0)).save(path)
            lists[part].append((path.name, path, int(pid), i % 2))
    return Benchmark("x", root, **{part: make_split(rows) for part, rows in lists.items()})


def job_of(folder, seed, *sets):
    """A build of one member from random weights, half of whose identities are doubled."""
    given = [
        "recipe.pretrained=false",
        f"recipe.seed={seed}",
        "recipe.resample={}",
        "recipe.identities_per_batch=2",
        *sets,
    ]
    return BuildContext(
        load_build_config(["r50"], sets=given),
        Store(folder, lambda text: None),
        Progress(quiet=True),
        "cpu",
        "float32",
        0,
    )


def test_whom_is_held_out_and_who_is_doubled(benchmark, tmp_path):
    seen = set()
    for seed in (0, 7):
        plan = plan_build(job_of(tmp_path, seed), benchmark, 0.5)
        train, query, gallery = hold_out(benchmark.train, 0.5, seed)
        assert [split.names for split in plan.tests["holdout"]] == [query.names, gallery.names]
        assert plan.training.doubled == balance(train, 2, Resample(), seed).doubled
        seen.add((query.names, plan.training.doubled))
    names, doubled = zip(*seen, strict=True)
    assert len(set(names)) == len(set(doubled)) == 2


def test_who_is_doubled_among_the_guessed(benchmark, tmp_path):
    doubled = []
    for seed in (0, 7):
        context = job_of(tmp_path, seed, "ensemble.rounds=2")
        first = plan_build(context, benchmark, None)
        training = plan_with_pseudo_labels(
            context, first, unlabelled_pool(context, first, benchmark), 2, LABELS
        ).training
        assert len(training.pids) == 30
        assert training.doubled == balance(training.split, 2, Resample(), seed).doubled
        doubled.append(training.doubled)
    assert doubled[0] != doubled[1]


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Labels the 60 images of a pool by one member's features, which are noise, as a round does."""
    feats = unit_rows(np.random.default_rng(0), 60, 8)
    names = [(f"{i:02d}.png", tmp_path / f"{i:02d}.png", -1, -1) for i in range(60)]
    pool = SimpleNamespace(tests=["unlabelled"], split=make_split(names), within=lambda plan: plan)
    monkeypatch.setattr(rounds, "member_features_address", lambda *_: Address("features", "r50", {"of": 1}))
    monkeypatch.setattr(rounds, "features", lambda *_: SimpleNamespace(key="kept"))
    monkeypatch.setattr(rounds, "make_members", lambda *_: None)
    monkeypatch.setattr(rounds, "open_banks", lambda *_: [SimpleNamespace(feats=feats)])

    def label(seed, *sets):
        context = job_of(tmp_path / "runs", seed, "ensemble.rounds=2", *sets)
        return context.store.path(rounds.label(context, pool, None, 2))

    return feats, label


def test_a_rounds_groups_are_of_the_recipes_seed(labelled):
    feats, label = labelled
    kept = [label(seed, "ensemble.pseudo={method: clusters, groups: 12}") for seed in (0, 7)]
    assert kept[0] != kept[1], "each has its own address"
    found = [rounds.read_labels(folder).tolist() for folder in kept]
    assert found == [clusters([feats], 12, seed=seed).tolist() for seed in (0, 7)] and found[0] != found[1]


def test_a_rounds_groups_are_by_the_ensembles_power(labelled):
    """Of dbscan alone: the encoding of the sets is by d or by d squared."""
    _, label = labelled
    sets = "ensemble.pseudo={method: dbscan, eps: 0.55, least: 2, k1: 10}"
    one, other = (label(0, sets, f"ensemble.power={power}") for power in (1, 2))
    assert one != other and rounds.read_labels(one).tolist() != rounds.read_labels(other).tolist()
    of_search = [label(0, "ensemble.pseudo.threshold=1", f"ensemble.power={power}") for power in (1, 2)]
    assert of_search[0] == of_search[1]


def test_the_pool_of_patches_is_of_the_recipes_seed():
    """Which piece of an image is in the pool; tiny's recipe has the seed 3."""
    images = np.random.default_rng(0).integers(0, 256, (30, 16, 8, 3), dtype=np.uint8)
    (got,) = make_augments(tiny.recipe(augment=[{"name": "random_patch", "p": 1}]), images)
    order = np.arange(30)
    seen = [
        np.stack([paste(images[0], image_rng(0, 0, i), Seat(0, i, order)) for i in range(15, 30)])
        for paste in (got, random_patch(images=images, seed=3, p=1), random_patch(images=images, seed=0, p=1))
    ]
    assert (seen[0] == seen[1]).all() and (seen[0] != seen[2]).any()


def test_the_batches_of_a_training_are_of_its_seed_and_epoch():
    options = {"seed": 5, "epoch": 3, "doubled": (1, 4)}
    rows = Sampling(LABELS, 4, 2, 5, (1, 4)).rows(3)
    assert rows.tolist() == pk_batches(LABELS, 4, 2, **options).tolist()
    for change in ({"seed": 0}, {"epoch": 0}, {"doubled": ()}):
        assert rows.tolist() != pk_batches(LABELS, 4, 2, **options | change).tolist()
