"""A re-ranker is one class and one row: a toy one, by every command that ranks, against the sum by hand."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config, load_ensemble
from configs.schema import EACH_FIRST, Competition, DomainSettings
from ensemble import build
from ensemble.fusion.strategy import FusionSettings, distance_stream, fusion_settings
from ensemble.neighbours import distance_blocks
from ensemble.rerank.registry import RERANKERS, KReciprocal, NoReranking, reranker_of
from ensemble.tune import __main__ as tune
from ensemble.tune import fast_scorer
from ensemble.tune.exact_scorer import ExactScorer
from ensemble.tune.fast_scorer import FastScorer
from submit import make
from submit.report import __main__ as report
from tests import oracles
from tests.boards import finished_build
from tests.boards import people as some_people
from tests.features import clustered


@dataclass(frozen=True)
class LocalScaling:
    """A distance less `share` of the mean distance of the gallery image to its own k nearest."""

    k: int = 4
    share: float = 0.5
    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {"share": (0.25, 1.0)}
    known: ClassVar[tuple[Mapping[str, Any], ...]] = ({"k": 2, "share": 0.75},)

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}: want 0 <= share <= 1")

    def neighbours_read(self, n):
        return min(n, self.k + 1)

    def lists(self, neighbours, feats, n_query, *, top_k, **given):
        return distance_blocks.ranked(self.stream(neighbours, feats, n_query, **given), top_k)

    def stream(self, neighbours, feats, n_query, **given):
        local = self.share * neighbours.dist[n_query:, 1 : self.k + 1].mean(axis=1)
        for rows, dist in distance_blocks.blocks(feats, n_query, **given):
            yield rows, dist + (2 - local)


def by_hand(dist, n_query, k, share):
    """The same of an (N, N) array of distances, with whole sorts: (Q, G)."""
    local = np.sort(dist, axis=1)[n_query:, 1 : k + 1].mean(axis=1)
    return dist[:n_query, n_query:] + 2 - share * local


@pytest.fixture(autouse=True)
def row(monkeypatch):
    monkeypatch.setitem(RERANKERS, "local_scaling", LocalScaling)


def feats():
    rng = np.random.default_rng(3)
    return [clustered(rng, 40, 16, 8), clustered(rng, 40, 24, 8)]


@pytest.mark.parametrize("fusion", ["sum_then_rerank", EACH_FIRST])
def test_distances_are_those_by_hand(fusion):
    both, weights = feats(), (1.0, 0.5)
    mix = FusionSettings(weights, LocalScaling(3, 0.75), fusion)
    got = np.concatenate([dist for _, dist in distance_stream(mix, both, 9)])
    if fusion == EACH_FIRST:
        alone = [by_hand(oracles.fused_distance([one], [1]), 9, 3, 0.75) for one in both]
        want = alone[0] + 0.5 * alone[1]
    else:
        want = by_hand(oracles.fused_distance(both, weights), 9, 3, 0.75)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_plan_names_it_and_its_options():
    plan = load_build_config(["r50"], sets=["ensemble.rerank={name: local_scaling, share: 0.25}"])
    assert reranker_of(plan.ensemble) == LocalScaling(4, 0.25)
    assert fusion_settings(plan.ensemble, ["r50"]).describe() == "local_scaling(k=4,share=0.25)"
    plan = load_build_config(["r50"], sets=["ensemble.rerank=none"])
    assert reranker_of(plan.ensemble) == NoReranking()
    plan = load_build_config(["r50"], sets=["ensemble.rerank={name: k_reciprocal, k1: 7}", "ensemble.k2=3"])
    assert reranker_of(plan.ensemble) == KReciprocal(k1=7, k2=3)


def test_a_domain_has_its_own():
    ensemble = load_ensemble()
    assert reranker_of(ensemble, DomainSettings(k1=5)) == KReciprocal(k1=5)
    own = DomainSettings.model_validate({"rerank": {"name": "local_scaling", "k": 2}, "k1": 5})
    assert reranker_of(ensemble, own) == LocalScaling(2, 0.5)
    assert reranker_of(ensemble, DomainSettings.model_validate({"rerank": "none"})) == NoReranking()


@pytest.mark.parametrize(
    ("rerank", "said"),
    [
        (
            "'local_scalnig'",
            "unknown re-ranker 'local_scalnig'; ensemble/rerank/registry.py has: k_reciprocal, ca_jaccard, none",
        ),
        ("{name: local_scaling, beta: 1}", "re-ranker 'local_scaling' has no option 'beta'; it has: k, share"),
        ("{name: none, k1: 3}", "re-ranker 'none' has no option 'k1'; it has: none"),
        ("{name: local_scaling, share: 3}", "re-ranker 'local_scaling': share is 3: want 0 <= share <= 1"),
        ("{name: k_reciprocal, k1: many}", "re-ranker 'k_reciprocal': k1 is 'many': want a whole number"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(rerank, said, tiny_build, tmp_path):
    argv = ["--members", "a", "--data", str(tiny_build.people), "--runs", str(tmp_path), *tiny_build.argv[6:]]
    with pytest.raises(ConfigError, match=re.escape(said)):
        build.main([*argv, "--set", f"ensemble.rerank={rerank}"])
    assert not list(tmp_path.glob("*/*/manifest.json"))


def test_a_build_its_dry_run_its_submission_and_its_report(tiny_build, tmp_path, capsys):
    """On the features that are kept; the ranking is that by hand."""
    runs = shutil.copytree(tiny_build.runs, tmp_path / "runs")
    argv = [str(runs) if part == str(tiny_build.runs) else part for part in tiny_build.argv]
    argv += ["--set", "ensemble.rerank={name: local_scaling, share: 1.0}"]
    before = set(runs.glob("rankings/*"))
    build.main([*argv, "--dry-run"])
    said = capsys.readouterr().err
    assert "kept: a, b; to make: none" in said and set(runs.glob("rankings/*")) == before
    build.main(argv)
    (ranking,) = set(runs.glob("rankings/*")) - before
    record = json.loads((runs / json.loads((runs / "last.json").read_text())["build"] / "build.json").read_text())
    banks = [np.load(runs / key / "feats.npy") for key in record["evaluations"]["test"]["banks"].values()]
    order, dist = (np.load(ranking / f"{name}.npy") for name in ("order", "dist"))
    want = by_hand(oracles.fused_distance(banks, [1, 1]), len(order), 4, 1.0)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order, 1), atol=1e-5)
    np.testing.assert_allclose(dist, np.sort(want, axis=1)[:, : dist.shape[1]], atol=1e-5)
    make.main(["--runs", str(runs), "--out", str(tmp_path / "submission")])
    rows = json.loads((tmp_path / "submission" / "score.json").read_text())["scores"]["test"]
    assert rows[-1]["name"] == "sum, re-ranked" and "local_scaling(k=4,share=1)" in rows[-1]["signature"]
    report.main(["--runs", str(runs), "--out", str(tmp_path / "report")])
    assert "local_scaling" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("whole", [True, False])
def test_tuning_scores_it_as_a_whole_search_does(whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    shape = {"n_people": 40, "each": 8, "queries": 2, "spreads": (1.3, 1.6, 2.0), "cameras": True}
    board, evaluation = some_people(np.random.default_rng(0), **shape)
    rules = {"top_k": 20, "ap": "hits", "junk": "none"}
    judge = ExactScorer(
        board, ["a", "b", "c"], evaluation, Competition(name="x", layout="table", format="naic_json", **rules)
    )
    tried = FastScorer(judge, 21)
    for fusion in ("sum_then_rerank", EACH_FIRST):
        mix = FusionSettings((1.0, 0.5, 0.0), LocalScaling(3, 1.0), fusion)
        np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)
    with pytest.raises(ValueError, match="k 30, share 1 read 31 neighbours per image, but the candidates have 21"):
        tried.totals(FusionSettings((1.0, 1.0, 1.0), LocalScaling(30, 1.0)))


def test_tuning_finds_it_where_it_is_best(tmp_path, capsys, monkeypatch):
    """Totals are made up: the toy gains, most with its largest share, and the printed line builds with it."""
    shape = {"n_people": 40, "each": 4, "queries": 2, "d": 24, "spreads": (1.2, 1.4)}
    finished_build(tmp_path, *some_people(np.random.default_rng(3), **shape), ["r50", "rx50"])

    def totals(self, mix):
        gain = 0.3 + 0.3 * mix.reranker.share if isinstance(mix.reranker, LocalScaling) else 0
        judge = self if isinstance(self, ExactScorer) else self.judge
        return np.full(len(judge.evaluation.query_pids), 0.3 + gain)

    monkeypatch.setattr(ExactScorer, "totals", totals)
    monkeypatch.setattr(FastScorer, "totals", totals)
    tune.main(["--runs", str(tmp_path)])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("build with:"))
    assert "--set 'ensemble.rerank={name: local_scaling, k: 2, share: 1}'" in line
