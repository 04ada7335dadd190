"""`python -m ensemble.pseudo` on a build whose features are made up."""

import csv
import json

import numpy as np
import pytest

from configs.errors import ConfigError, ResultError
from configs.load import load_build_config
from configs.store.store import Address, Store
from ensemble.features.feature_bank import save_bank
from ensemble.pseudo.__main__ import main
from ensemble.results.build_record import Evaluation, Record, point_at, save_record

PIDS = np.repeat(np.arange(6), 5)
NAMES = [f"{i:02d}.png" for i in range(30)]


@pytest.fixture
def runs(tmp_path):
    """A store with two members' features of six people, and the record of a build."""
    rng = np.random.default_rng(0)
    store, keys = Store(tmp_path / "runs"), {}
    for member in ("r50", "ibn_a"):
        feats = rng.normal(size=(6, 8))[PIDS] + 0.1 * rng.normal(size=(30, 8))
        feats = (feats / np.linalg.norm(feats, axis=1, keepdims=True)).astype(np.float32)
        address = Address("features", member, {"member": member})
        store.get(address, lambda folder, feats=feats: save_bank(folder, feats, NAMES[:4], NAMES[4:]))
        keys[member] = address.key
    for known, name in ((True, "known"), (False, "unknown")):
        pids = PIDS.tolist() if known else []
        evaluation = Evaluation(keys, "", None, pids[:4], [-1] * 4, pids[4:], [-1] * 26)
        plan = load_build_config(["r50", "ibn_a"]).model_dump(mode="json")
        record = Record(plan, "", "", {"test": evaluation})
        address = Address("builds", name, {"known": known})
        store.get(address, lambda folder, record=record: save_record(folder, record))
        if known:
            point_at(store, address.key)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "method",
    [
        ["loop_search", "--threshold", "0.1"],
        ["loop_search", "--threshold", "none", "--distance", "reranked"],
        ["first_neighbours", "--threshold", "0.1"],
        ["clusters", "--groups", "6"],
        ["dbscan", "--least", "3", "--k1", "4"],
    ],
)
def test_groups_are_written_and_scored(method, runs, tmp_path, capsys):
    out = tmp_path / "new" / "labels.csv"
    main(["--runs", str(runs), "--method", *method, "--out", str(out)])
    said = capsys.readouterr().out
    assert (
        f"{method[0]}, r50+ibn_a: " in said and "30 of 30 images labelled; purity 1.000, pair precision 1.000" in said
    )
    with open(out, encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert [row["name"] for row in rows] == NAMES
    labels = np.array([int(row["label"]) for row in rows])
    report = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    assert report["method"] == method[0] and report["groups"] == labels.max() + 1 and report["purity"] == 1
    for group in range(report["groups"]):
        assert len(set(PIDS[labels == group])) == 1


def test_the_seed_is_of_the_clusters(runs, tmp_path):
    """Six people in ten groups: which of them are split is luck."""
    found = []
    for seed in ("0", "3", "3"):
        argv = ["--method", "clusters", "--groups", "10", "--seed", seed, "--out", str(tmp_path / "labels.csv")]
        main(["--runs", str(runs), *argv])
        found.append((tmp_path / "labels.csv").read_text())
    assert found[0] != found[1] == found[2]


def test_without_identities_there_is_no_score(runs, tmp_path, capsys):
    key = next((runs / "builds").glob("unknown-*")).name
    out = tmp_path / "labels.csv"
    main(["--runs", str(runs), "--build", f"builds/{key}", "--method", "clusters", "--groups", "6", "--out", str(out)])
    assert "6 groups, 30 of 30 images labelled; no identities to score with" in capsys.readouterr().out
    assert json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["purity"] is None


def test_what_cannot_be(runs, tmp_path):
    with pytest.raises(ConfigError, match="--test holdout: this build has test"):
        main(["--runs", str(runs), "--test", "holdout"])
    with pytest.raises(ConfigError, match="use a larger --threshold"):
        main(["--runs", str(runs), "--threshold", "1e-6"])
    with pytest.raises(ResultError, match="no finished build"):
        main(["--runs", str(tmp_path / "none")])
