"""What an address depends on: everything that changes a result, and nothing else."""

import ast
from pathlib import Path

import numpy as np
import pytest

from configs.schema import Ensemble, Expansion, Whitening
from configs.store.store import Address
from ensemble.fusion.strategy import rerank_request
from ensemble.pipeline.groups import groups_request
from ensemble.results import cache_keys
from models.data.split import Split
from tests import tiny

ROOT = Path(__file__).parent.parent
IMAGES = Address("images", "train", {"x": 1})
START = {"sha256": "ab", "fresh": []}
ENSEMBLE = {"flip": True, "rerank": "k_reciprocal", "k1": 20, "k2": 6, "lam": 0.3, "power": 2}


def weights(member=None, images=IMAGES, labels="l", start=START, precision="float32", device="cpu", **recipe):
    changed = tiny.recipe(**recipe)
    return cache_keys.weights_address(member or tiny.member(), changed, images, labels, start, precision, device).key


RECIPE_CHANGES = {
    "size": [64, 48],
    "epochs": 3,
    "seed": 4,
    "identities_per_batch": 5,
    "images_per_identity": 3,
    "min_images": 3,
    "pretrained": True,
    "optimizer": {"name": "adam", "lr": 2e-3},
    "schedule": {"name": "steps", "gamma": 0.2},
    "losses": {"id": {"weight": 0.2}, "triplet": {"weight": 0.9}},
    "augment": [{"name": "flip"}],
    "channels_last": False,
}


FINE_TUNING = {
    "decay": "matrices",
    "layer_decay": 0.7,
    "head_rate": 2,
    "freeze": 1,
    "head_epochs": 1,
    "drop_path": 0.1,
    "clip_norm": 1,
    "ema": 0.9,
}  # what tiny.RECIPE leaves at its default


@pytest.mark.parametrize("key", FINE_TUNING)
def test_every_key_of_fine_tuning_makes_another_member(key):
    assert weights(**{key: FINE_TUNING[key]}) != weights()


@pytest.mark.parametrize("key", RECIPE_CHANGES)
def test_every_key_of_the_recipe_makes_another_member(key):
    assert weights(**{key: RECIPE_CHANGES[key]}) != weights()


def test_the_list_of_changes_above_is_whole():
    """`precision` enters as the one that is computed in; `checkpoint_every` changes no weight."""
    assert set(RECIPE_CHANGES) | {"precision", "checkpoint_every"} == set(tiny.RECIPE)


@pytest.mark.parametrize(
    "change",
    [
        {"member": tiny.member(backbone={"name": "tiny", "depth": 3})},
        {"member": tiny.member(head={"name": "global", "pool": "max"})},
        {"images": Address("images", "train", {"x": 2})},
        {"labels": "m"},
        {"start": START | {"sha256": "cd"}},
        {"start": START | {"fresh": ["se"]}},
        {"start": None},
        {"precision": "bfloat16"},
        {"device": "cuda"},
    ],
    ids=str,
)
def test_everything_else_that_changes_a_weight(change):
    assert weights(**change) != weights()


def test_what_changes_no_weight():
    """How often it is kept; what `auto` was, once it is known what it came to; where the weights file lay."""
    assert weights(checkpoint_every=7) == weights(checkpoint_minutes=2) == weights()
    assert weights(launch="eager") == weights(launch="graph") == weights() != weights(launch="compile")
    assert weights(feed="loader") == weights() != weights(feed="device")
    assert weights(feed="device", device="cuda") == weights(device="cuda") != weights(feed="loader", device="cuda")
    assert weights(precision="float32") == weights()
    one, other = (tiny.member(weights={"file": f"/{name}.pth"}) for name in "ab")
    assert weights(member=one) == weights(member=other)


def features(weights_digest="w", query="q", gallery="g", precision="float32", **ensemble):
    kinds = [Address("x", "x", {"x": x}) for x in (weights_digest, query, gallery)]
    settings = Ensemble.model_validate(ENSEMBLE | ensemble)
    return cache_keys.features_address(kinds[0], "test", kinds[1], kinds[2], settings, precision).key


def test_features():
    changes = [{"weights_digest": "v"}, {"query": "r"}, {"gallery": "h"}, {"precision": "bfloat16"}, {"flip": False}]
    assert len({features(), *(features(**change) for change in changes)}) == 1 + len(changes)
    for change in ({"k1": 5}, {"k2": 3}, {"lam": 0.1}, {"power": 1}, {"rerank": "none"}, {"weights": {"a": 2}}):
        assert features(**change) == features()


def ranking(banks=("a", "b"), weights=(1, 2), top_k=9, **ensemble):
    named = {name: Address("features", name, {}) for name in banks}
    settings, shares = Ensemble.model_validate(ENSEMBLE | ensemble), dict(zip(banks, weights, strict=True))
    return cache_keys.ranking_address("test", named, shares, settings, rerank_request(settings), top_k).key


def test_ranking():
    changes = [{"weights": (1, 3)}, {"top_k": 8}, {"k1": 5}, {"k2": 3}, {"lam": 0.1}, {"power": 1}, {"rerank": "none"}]
    changes += [{"camera_penalty": 0.1}, {"camera_penalty": 0.2}, {"fusion": "rerank_then_sum"}]
    assert len({ranking(), *(ranking(**change) for change in changes)}) == 1 + len(changes)
    none = {"rerank": "none"}
    assert ranking(**none, k1=5) == ranking(**none)


def test_neighbours_serve_every_k1_k2_and_lam():
    banks = {"a": Address("features", "a", {})}
    one = cache_keys.neighbours_address("test", banks, {"a": 1.0}, 64, 200)
    assert one.key != cache_keys.neighbours_address("test", banks, {"a": 2.0}, 64, 200).key
    assert one.key != cache_keys.neighbours_address("test", banks, {"a": 1.0}, 65, 200).key
    assert one.key != cache_keys.neighbours_address("test", banks, {"a": 1.0}, 64, 100).key
    assert set(one.request) == {"banks", "weights", "k", "top_k", "code"}
    penalties = [cache_keys.camera_penalty(0.1, np.array(c)) for c in ([0, 1], [1, 1])]
    penalised = {cache_keys.neighbours_address("test", banks, {"a": 1.0}, 64, 200, p).key for p in penalties}
    assert len({one.key, *penalised}) == 3
    assert cache_keys.camera_penalty(0.0, np.array([0, 1])) is None


def expanded(member="a", weights=(1, 2), banks=("a", "b"), **how):
    named = {name: Address("features", name, {}) for name in banks}
    chosen = Expansion.model_validate({"name": "queries"} | how)
    return cache_keys.expanded_address("test", member, named, dict(zip(banks, weights, strict=True)), chosen).key


def test_expanded_features():
    changes = [{"member": "b"}, {"weights": (1, 3)}, {"banks": ("a", "c")}]
    changes += [{"name": "database"}, {"k": 4}, {"alpha": 1}]
    assert len({expanded(), *(expanded(**change) for change in changes)}) == 1 + len(changes)


def whitened(member="a", bank="x", train=None, groups=None, **how):
    banks = [None if of is None else Address("features", of, {"x": of}) for of in (bank, train)]
    chosen = Whitening.model_validate({"name": "test"} | how)
    return cache_keys.whitened_address("test", member, banks[0], banks[1], chosen, groups or {}).key


def test_whitened_features():
    changes = [{"member": "b"}, {"bank": "y"}, {"name": "train"}, {"train": "t"}, {"shrinkage": 0.2}]
    changes += [{"center": "camera"}, {"groups": {"camids": "c"}}, {"groups": {"camids": "d"}}]
    assert len({whitened(), *(whitened(**change) for change in changes)}) == 1 + len(changes)


def test_what_features_are_centred_by_is_in_the_request():
    def split(camids, domains):
        at = np.full(len(camids), -1), np.array(camids)
        return Split(tuple("abc"), tuple(map(Path, "abc")), *at, domains=tuple(domains))

    def request(camids=(0, 1, 1), domains="xxy", center="camera"):
        settings = Ensemble.model_validate(
            ENSEMBLE | {"whiten": {"name": "test", "center": center}, "domains": "table"}
        )
        return groups_request(settings, [split(camids, domains)])

    assert request(center="none") == request(camids=(1, 1, 1), domains="zzz", center="none") == {}
    assert request() != request(camids=(0, 0, 1)) and request() == request(domains="xyy")
    assert request(center="domain") != request(center="domain", domains="xyy")
    assert request(center="domain") == request(center="domain", camids=(0, 0, 1))


# ------------------------------------------------------------------------------------------------ the code behind each


def imported(path):
    """The project's own files that a file imports by name, directly."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            place = ROOT.joinpath(*name.split("."))
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.is_file():
                    yield file


def closure(*files):
    """The files, and every file of the project that they import, one through another."""
    found, left = set(), [ROOT / f for f in files]
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += imported(file)
    return {f.relative_to(ROOT).as_posix() for f in found}


def counted(monkeypatch, make):
    """The files whose code an address counts."""
    seen = set()

    def record(*places):
        for place in places:
            assert place.exists(), place
            files = place.rglob("*.py") if place.is_dir() else [place]
            seen.update(f.relative_to(ROOT).as_posix() for f in files)
        return "code"

    monkeypatch.setattr(cache_keys, "code_version", record)
    make()
    return seen


# They say, keep and refuse; none of them changes a number.
IDLE = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.py")} | {
    "models/__init__.py",
    "models/training/checkpoint.py",
    "models/training/epoch_metrics.py",
    "models/training/keeper.py",
    "models/training/numeric_checks.py",
    "models/data/__init__.py",
    "models/data/doctor/finding.py",
    "models/data/spelling.py",
    "ensemble/__init__.py",
}
BY_VALUE = {
    f"models/data/{f}.py" for f in ("split", "images", "crop", "mend")
}  # in digests and the images that they make


def test_the_code_of_training_is_counted_whole(monkeypatch):
    needed = closure("models/training/train.py") - IDLE - BY_VALUE
    assert needed - counted(monkeypatch, weights) == set()


def test_the_code_of_the_images_is_counted_whole(monkeypatch):
    made = counted(monkeypatch, lambda: cache_keys.images_address("train", "d", (64, 32)))
    assert {f"models/data/{f}.py" for f in ("images", "crop", "mend", "batches")} <= made


def test_the_code_of_extraction_is_counted_whole(monkeypatch):
    """With that of training, which is in the digest of the weights."""
    made = counted(monkeypatch, features) | counted(monkeypatch, weights)
    opened = {"ensemble/neighbours/distances.py"}  # by a bank of distances from outside; extraction writes none
    needed = closure("models/extraction/extract.py", "ensemble/features/feature_bank.py")
    assert needed - IDLE - BY_VALUE - opened - made == set()


def test_the_code_of_retrieval_is_counted_whole(monkeypatch):
    made = counted(monkeypatch, ranking)
    start = "fusion/strategy.py", "fusion/partitions.py", "rerank/__init__.py", "neighbours/__init__.py"
    needed = closure(*(f"ensemble/{file}" for file in start), "ensemble/results/ranking.py")
    assert needed - IDLE - made == {"ensemble/results/build_record.py"}  # what an evaluation is: no number of its own


def test_the_stage_that_ranks_is_counted(monkeypatch):
    """It decides every ranking."""
    assert "ensemble/pipeline/ranking_stage.py" in counted(monkeypatch, ranking)


def test_the_code_of_expansion_is_counted_whole(monkeypatch):
    made = counted(monkeypatch, expanded)
    assert closure("ensemble/rerank/query_expansion.py", "ensemble/features/feature_bank.py") - IDLE - made == set()
    assert "ensemble/pipeline/ranking_stage.py" in made


def test_the_code_of_whitening_is_counted_whole(monkeypatch):
    made = counted(monkeypatch, whitened)
    assert closure("ensemble/rerank/whitening.py", "ensemble/features/feature_bank.py") - IDLE - made == set()
    assert {"ensemble/pipeline/whitening_stage.py", "ensemble/pipeline/groups.py"} <= made
