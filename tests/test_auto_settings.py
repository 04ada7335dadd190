"""`k1: auto` and `k2: auto`: by the training list alone, and carried out as if the numbers had been given."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config, load_ensemble
from ensemble import build
from ensemble.pipeline.auto_settings import settle_k
from ensemble.rerank.registry import reranker_of
from ensemble.tune import __main__ as tune
from models.data.split import Split
from tests.tables import write_member, write_table


def people(*counts):
    """A training list of persons with so many images each; -1 is nobody."""
    pids = np.repeat([*range(len(counts))], counts)
    names = tuple(f"{i}.jpg" for i in range(len(pids)))
    return Split(names, tuple(map(Path, names)), pids, np.full(len(pids), -1))


@pytest.mark.parametrize(
    ("counts", "k1", "k2"),
    [
        ((12, 9, 14), 12, 4),
        ((7, 8), 8, 2),  # 7.5
        ((1, 2, 3, 200), 6, 2),  # the fewest
        ((60, 70, 20), 40, 12),  # the most
        ((14, 14, 90, 14), 14, 4),  # the median, not the mean
    ],
)
def test_k1_is_the_median_of_images_and_k2_three_tenths(counts, k1, k2):
    settled, said = settle_k(
        load_build_config(["r50"], sets=["ensemble.k1=auto", "ensemble.k2=auto"]).ensemble, people(*counts)
    )
    assert (settled.k1, settled.k2) == (k1, k2)
    assert said.startswith(f"re-ranking, auto: k1 {k1}, k2 {k2}, by {len(counts)} training identities of ")
    assert reranker_of(settled).k1 == k1


def test_either_alone():
    one, said = settle_k(load_build_config(["r50"], sets=["ensemble.k1=auto", "ensemble.k2=5"]).ensemble, people(9, 9))
    assert (one.k1, one.k2) == (9, 5) and "auto: k1 9, by 2" in said
    one, said = settle_k(load_build_config(["r50"], sets=["ensemble.k1=28", "ensemble.k2=auto"]).ensemble, people(9, 9))
    assert (one.k1, one.k2) == (28, 8) and "auto: k2 8, by 2" in said


def test_numbers_stay_and_nothing_is_said():
    ensemble = load_ensemble()
    assert settle_k(ensemble, people(9, 9)) == (ensemble, "")


def test_images_of_nobody_count_for_nothing():
    train = people(9, 9, 9, 30, 30)
    train.pids[train.pids > 2] = -1
    assert settle_k(load_build_config(["r50"], sets=["ensemble.k1=auto"]).ensemble, train)[0].k1 == 9
    train.pids[:] = -1
    with pytest.raises(ConfigError, match="k1 auto goes by the images of training identities, and none is known"):
        settle_k(load_build_config(["r50"], sets=["ensemble.k1=auto"]).ensemble, train)


def test_what_nobody_settled_is_refused():
    with pytest.raises(ConfigError, match="k1 is 'auto': want a whole number"):
        reranker_of(load_build_config(["r50"], sets=["ensemble.k1=auto"]).ensemble)


def test_a_build_carries_it_out(tmp_path, capsys):
    """The record, the ranking's signature and its address are those of the numbers."""
    rows = [f"{who},{who}{i}.jpg,test,{int(i == 0)},{int(i > 0)},{i}" for who in ("fox", "owl") for i in range(3)]
    rows += [f"{who},{who}{i}.jpg,train,,,{i}" for who in ("elk", "hen", "ox") for i in range(9)]
    data = write_table(tmp_path / "data", "label,path,split,is_query,is_gallery,camid", rows)
    write_member(tmp_path / "m.npz", {row.split(",")[1]: i / 3 for i, row in enumerate(rows[:6])})
    made = []
    for sets in (["ensemble.k1=auto", "ensemble.k2=auto"], ["ensemble.k1=9", "ensemble.k2=3"]):
        argv = ["--members", f"m={tmp_path}/m.npz", "--data", str(data), "--runs", str(tmp_path / "runs")]
        build.main([*argv, *(x for change in sets for x in ("--set", change))])
        said = capsys.readouterr()
        made.append(json.loads((Path(said.out.splitlines()[-1]) / "build.json").read_text()))
        assert ("auto: k1 9, k2 3, by 3 training identities of 9 images (median)" in said.err) == (len(made) == 1)
    assert (made[0]["plan"]["ensemble"]["k1"], made[0]["plan"]["ensemble"]["k2"]) == (9, 3)
    assert made[0]["evaluations"] == made[1]["evaluations"]
    signature = json.loads(next((tmp_path / "runs/rankings").glob("*/ranking.json")).read_text())["signature"]
    assert "'k1': 9, 'k2': 3" in signature


def test_tuning_starts_from_what_the_build_settled(monkeypatch):
    """Where `ensemble.yaml` itself says auto."""
    asked = load_ensemble().model_copy(update={"k1": "auto", "lam": 0.4})
    monkeypatch.setattr(tune, "load_ensemble", lambda: asked)
    found = tune.defaults(load_ensemble().model_copy(update={"k1": 9, "k2": 3}))
    assert (found.k1, found.k2, found.lam) == (9, 6, 0.4)
