"""A set whose images are query and gallery at once, through the commands: build, make, score, report, tune."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import submit
from configs.console.progress import Progress
from configs.errors import ConfigError
from configs.schema import EACH_FIRST, Competition
from configs.store.store import Store
from ensemble import build
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.results.build_record import Evaluation
from ensemble.tune import __main__ as tune
from ensemble.tune import fast_scorer
from ensemble.tune.exact_scorer import ExactScorer
from ensemble.tune.fast_scorer import FastScorer
from submit import score
from submit.report.build_report import write_report
from submit.report.pairs import nearest_pairs
from submit.report.query_results import collect_query_results
from submit.report.report_input import open_report_input
from tests import oracles
from tests.features import unit_rows

PEOPLE, EACH, MEMBERS = 14, 5, ("a", "b")
N = PEOPLE * EACH
NAMES = [f"{who:02d}-{i}.png" for who in range(PEOPLE) for i in range(EACH)]
PIDS = np.repeat(np.arange(PEOPLE), EACH)
QUIET = Progress(quiet=True)


def member_feats(rng, spread):
    """(N, 12) unit rows around a centre a person."""
    feats = np.repeat(unit_rows(rng, PEOPLE, 12), EACH, axis=0) + spread * unit_rows(rng, N, 12)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


class Built:
    """The folder, the features and what the commands wrote."""

    def __init__(self, root, *sets, extra=""):
        rng = np.random.default_rng(4)
        self.root, self.feats = root / "set", [member_feats(rng, spread) for spread in (1.1, 1.6)]
        self.root.mkdir(parents=True)
        lines = [f"label,path,split,is_query,is_gallery{',domain' if extra else ''}"]
        for i, name in enumerate(NAMES):
            Image.fromarray(rng.integers(0, 255, (12, 8, 3), np.uint8)).save(self.root / name)
            lines.append(f"{PIDS[i]},{name},test,1,1{',' + 'xy'[PIDS[i] % 2] if extra else ''}")
        (self.root / "df.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for name, feats in zip(MEMBERS, self.feats, strict=True):
            np.savez(root / f"{name}.npz", names=np.array(NAMES), feats=feats)
        self.runs, self.sets = root / "runs", ["competition.junk=[itself, same_pid_same_cam]", *sets]
        self.argv = [word for change in self.sets for word in ("--set", change)]
        named = ",".join(f"{name}={root / name}.npz" for name in MEMBERS)
        build.main(
            ["--members", named, "--data", str(self.root), "--out", str(self.runs), "--device", "cpu", *self.argv]
        )
        self.handed = submit.make(runs=self.runs, out=root / "out", device="cpu")

    @property
    def dist(self):
        return [oracles.fused_distance([a], [1.0]) for a in self.feats]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Built(tmp_path_factory.mktemp("all"))


def answers(dist):
    """The oracle's score of (N, N) distances, each image asked of all others; and its lists."""
    others = [[j for j in oracles.rank_list(row) if j != i] for i, row in enumerate(dist)]
    told = oracles.evaluate(others, PIDS, PIDS, ap="market", junk="none", left_out=[{i} for i in range(N)])
    return told, others


def reranked(dist, **options):
    return oracles.k_reciprocal(dist, 0, **options, sides=(range(N), range(N)))


def test_every_row_of_the_table_is_brute_force_without_the_query(made):
    rows = made.handed.scores["test"]
    want = [*made.dist, sum(made.dist), reranked(sum(made.dist))]
    assert [row.name for row in rows] == ["a", "b", "sum", "sum, re-ranked"]
    for row, dist in zip(rows, want, strict=True):
        told, _ = answers(dist)
        assert (row.rank1, row.map, row.minp) == tuple(pytest.approx(told[k]) for k in ("rank1", "map", "minp"))
        assert 0.2 < row.map < 0.99 and "|junk=itself|" in row.signature and row.scored == N


def test_the_file_holds_the_re_ranked_lists_and_scores_the_same(made, capsys):
    lists = json.loads(made.handed.file.read_text(encoding="utf-8"))
    told, order = answers(reranked(sum(made.dist)))
    same = sum(lists[name] == [NAMES[j] for j in row] for name, row in zip(NAMES, order, strict=True))
    assert same > 0.9 * N and {len(row) for row in lists.values()} == {N - 1}, "ties by rounding alone"
    assert not any(name in row for name, row in lists.items())
    assert score.main([str(made.handed.file), "--data", str(made.root), *made.argv]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "submission.json  " in line and "%" not in line)
    assert [f"{100 * told[k]:.1f}" for k in ("rank1", "map")] == [row.split()[i] for i in (1, 3)]


def test_the_report_shows_no_image_as_its_own_answer_nor_as_its_double(made, tmp_path):
    store = Store(made.runs, lambda text: None)
    subject = open_report_input(store, None, "cpu")
    trial = subject.trials[0]
    found = collect_query_results(subject, trial, QUIET)
    told, order = answers(reranked(sum(made.dist)))
    assert np.nanmean(found.ap[-1]) == pytest.approx(told["map"], abs=1e-6)
    assert (found.top != np.arange(N)[:, None]).all() and (found.junk == 1).all()
    assert (found.top[:, 0] == [row[0] for row in order]).mean() > 0.95
    assert [len(found.right[found.right_ptr[i] : found.right_ptr[i + 1]]) for i in range(N)] == [EACH - 1] * N
    pairs, _ = nearest_pairs(subject, trial, "cpu")
    assert len({frozenset((NAMES[p.one % N], NAMES[p.other % N])) for p in pairs}) == len(pairs)
    assert all(p.one % N != p.other % N for p in pairs)
    assert all(min(p.one, p.other) >= N for p in pairs), "rows of the gallery, which stand for the images"
    summed = sum(made.dist) / 2
    nearest = np.sort(1 - summed[np.triu_indices(N, 1)])[::-1]
    np.testing.assert_allclose([p.similar for p in pairs], nearest[: len(pairs)], atol=1e-5)
    write_report(store, None, tmp_path / "report", QUIET, "cpu")
    assert (tmp_path / "report/index.html").is_file()


def test_tuning_counts_as_the_build_does(made, capsys):
    tune.main(["--runs", str(made.runs), "--device", "cpu"])
    out = capsys.readouterr().out
    kept = json.loads(Path(out.splitlines()[-1]).read_text(encoding="utf-8"))["problems"][0]
    assert kept["built"]["total"] == pytest.approx(made.handed.scores["test"][-1].total)
    assert "|junk=itself|" in kept["signature"]


def test_domains_are_searched_without_the_query_too(tmp_path):
    made = Built(tmp_path, "ensemble.domains=table", "ensemble.rerank=none", extra="domain")
    lists = json.loads(made.handed.file.read_text(encoding="utf-8"))
    whole = sum(made.dist)
    for i, name in enumerate(NAMES):
        own = [j for j in oracles.rank_list(whole[i]) if j != i and PIDS[j] % 2 == PIDS[i] % 2]
        others = [j for j in oracles.rank_list(whole[i]) if PIDS[j] % 2 != PIDS[i] % 2]
        assert lists[name] == [NAMES[j] for j in own + others]


def test_queries_alone_are_not_averaged(tmp_path):
    with pytest.raises(ConfigError, match=r"ensemble\.expand\.name=database"):
        Built(tmp_path, "ensemble.expand={name: queries, k: 3}")


def test_averages_count_an_image_once(tmp_path):
    made = Built(tmp_path, "ensemble.expand={name: database, k: 3}", "ensemble.rerank=none")
    dist = sum(made.dist)
    for row, feats in zip(made.handed.scores["test"], made.feats, strict=False):
        near = [[i, *[j for j in oracles.rank_list(dist[i]) if j != i][:3]] for i in range(N)]
        mean = np.stack([feats[rows].astype(float).sum(axis=0) for rows in near])
        told, _ = answers(oracles.fused_distance([mean], [1.0]))
        assert row.map == pytest.approx(told["map"])


MIXES = (
    FusionSettings((1.0, 0.5), KReciprocal(k1=7, k2=3, lam=0.5, power=1)),
    FusionSettings((1.0, 1.0), NoReranking()),
    FusionSettings((1.0, 0.5), KReciprocal(k1=7, k2=3, lam=0.4), fusion=EACH_FIRST),
)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("overlap", ["all", "some", "another order"])
def test_totals_tried_fast_are_those_of_whole_searches(overlap, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    rng = np.random.default_rng(1)
    feats = [member_feats(rng, spread) for spread in (1.1, 1.6)]
    query = {"all": np.arange(N), "some": np.arange(0, N, 2), "another order": rng.permutation(N)}[overlap]
    gallery = np.arange(20, N) if overlap == "some" else np.arange(N)
    row = {image: i for i, image in enumerate(gallery.tolist())}
    labels = [PIDS[side].tolist() for side in (query, gallery)]
    evaluation = Evaluation(
        {}, "", None, labels[0], [-1] * len(query), labels[1], [-1] * len(gallery),
        own=[row.get(image, -1) for image in query.tolist()],
    )  # fmt: skip
    rules = Competition(name="x", layout="table", format="naic_json", top_k=20, ap="hits", junk="itself")
    rows = [np.concatenate([a[query], a[gallery]]) for a in feats]
    judge = ExactScorer(rows, MEMBERS, evaluation, rules, "cpu")
    tried = FastScorer(judge, 21)
    assert (tried.pairs is None) == (overlap == "all" and not whole)
    for mix in MIXES:
        want = judge.totals(mix)
        assert 0.2 < np.nanmean(want) < 0.99
        np.testing.assert_allclose(tried.totals(mix), want, atol=1e-9)
    copies = ExactScorer(rows, MEMBERS, replace(evaluation, own=[]), rules, "cpu").totals(MIXES[1])
    assert np.nanmean(copies) > np.nanmean(judge.totals(MIXES[1])) + 0.1, "with itself in its list"
