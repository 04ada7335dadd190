"""Clusters and named identities through the commands: build, submit.clusters, submit.check, submit.score."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError, DataError
from ensemble import build
from ensemble.metrics.cluster_metrics import cluster_figures
from ensemble.metrics.identity_metrics import NEW, known_or_new_figures
from submit import check, clusters, make, score
from tests import oracles
from tests.features import unit_rows
from tests.test_clusters import chained, parts, slow_average

PEOPLE, EACH = 24, 4
N = PEOPLE * EACH
NAMES = [f"{i:03d}.png" for i in np.random.default_rng(8).permutation(N)]
PIDS = np.repeat(np.arange(PEOPLE), EACH)


class Set:
    """A folder of pictures, and one member's features from a file; built.

    sides: (N,) text, `q`, `g` or `qg`.
    """

    def __init__(self, root, sides, *sets, labels=PIDS, spread=1.0, dim=24, twice=False, domains=False):
        rng = np.random.default_rng(3)
        self.root, self.runs = root / "set", root / "runs"
        self.root.mkdir(parents=True)
        lines = [f"label,path,split,is_query,is_gallery{',domain' * domains}"]
        for i, (name, side, who) in enumerate(zip(NAMES, sides, labels, strict=True)):
            Image.fromarray(rng.integers(0, 255, (12, 8, 3), np.uint8)).save(self.root / name)
            lines.append(
                f"{'' if who is None else f'cat{who}'},{name},test,{int('q' in side)},{int('g' in side)}"
                + f",{'xy'[PIDS[i] % 2]}" * domains
            )
        (self.root / "df.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        feats = np.repeat(unit_rows(rng, PEOPLE, dim), EACH, axis=0) + spread * unit_rows(rng, N, dim)
        feats /= np.linalg.norm(feats, axis=1, keepdims=True)
        for member in ("a", "b"):
            np.savez(root / f"{member}.npz", names=np.array(NAMES), feats=feats)
        sets = (*sets, *["ensemble.domains=table"] * domains)
        self.argv = [word for change in sets for word in ("--set", change)]
        members = f"a={root / 'a.npz'}" + f",b={root / 'b.npz'}" * twice
        given = ["--members", members, "--data", str(self.root), "--out", str(self.runs)]
        build.main([*given, "--device", "cpu", *self.argv])
        self.dist = oracles.fused_distance([feats], [1.0])

    def handed(self, out, *argv):
        """The rows that the command writes: image -> label."""
        clusters.main(["--runs", str(self.runs), "--out", str(out), "--device", "cpu", *argv])
        (file,) = out.glob("*.csv")
        with open(file, newline="") as opened:
            rows = [*csv.DictReader(opened)]
        return file, {row["image_id"]: next(v for k, v in row.items() if k != "image_id") for row in rows}


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """All images are query and gallery."""
    return Set(tmp_path_factory.mktemp("every"), ["qg"] * N, "competition.junk=itself")


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Two images of each of the first 16 people are the gallery; 8 people are new."""
    sides = ["g" if PIDS[i] < 16 and i % EACH < 2 else "q" for i in range(N)]
    return Set(tmp_path_factory.mktemp("halves"), sides)


def reranked(dist):
    """What the graph has: the smaller of two directions, at most 1."""
    whole = np.asarray(oracles.k_reciprocal(dist, 0, sides=(range(N), range(N))))
    return np.minimum(np.minimum(whole, whole.T), 1)


def sets_of(rows, names=NAMES):
    return parts(np.unique([rows[name] for name in names], return_inverse=True)[1])


def test_clusters_are_those_of_the_whole_re_ranked_matrix(every, tmp_path):
    whole = reranked(every.dist)
    for method, want in (("average", slow_average(whole, 0.6)), ("connected", chained(whole, 0.35))):
        number = "0.6" if method == "average" else "0.35"
        _, rows = every.handed(tmp_path / method, "--method", method, "--threshold", number)
        assert [*rows] == sorted(NAMES) and sets_of(rows) == want
        assert 5 < len(want) < N - 20


def test_the_file_is_checked_and_scored_by_the_other_commands(every, tmp_path, capsys):
    file, rows = every.handed(tmp_path / "out", "--threshold", "0.6")
    said = capsys.readouterr().out
    given = ["--data", str(every.root), "--format", "clusters_csv", *every.argv]
    assert check.main([str(file), *given]) == 0
    assert "valid clusters_csv; own wants 96 rows" in capsys.readouterr().out
    assert score.main([str(file), *given]) == 0
    figures = cluster_figures(np.unique([rows[n] for n in NAMES], return_inverse=True)[1], PIDS)
    told = capsys.readouterr().out
    assert 0.2 < figures["ari"] < 0.99
    for name, value in figures.items():
        line = f"{name} {100 * value:.1f} ("
        assert line in told and line in said
    kept = json.loads((tmp_path / "out/score.json").read_text())
    assert kept["labels"][0]["value"]["mean"] == pytest.approx(figures["ari"])
    assert (
        "|method=average(threshold=0.6)|threshold_from=the_command_line|members=a*1|" in kept["labels"][0]["signature"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.replace("image_id,cluster", "id,cluster"), "line 1: wanted the header image_id,cluster"),
        (lambda t: t.replace("000.png,", "who.png,"), "image '000.png' has no row"),
        (lambda t: t + "000.png,0\n", "image '000.png' occurs again; its first row is line 2"),
        (lambda t: t.replace("000.png,", "000.PNG,"), "the data set has '000.png': other capitals"),
        (lambda t: t.replace("001.png,", "001.png,x,"), "line 3: 3 fields; wanted image_id and cluster"),
        (lambda t: "\n".join(t.splitlines()[:-1]) + "\n095.png,\n", "image '095.png': the cluster is empty"),
        (lambda t: "", "the file is empty"),
    ],
)
def test_faults_are_told_by_line(every, tmp_path, capsys, change, said):
    file, _ = every.handed(tmp_path / "out", "--threshold", "0.6")
    file.write_text(change(file.read_text()))
    capsys.readouterr()
    given = [str(file), "--data", str(every.root), "--format", "clusters_csv", *every.argv]
    assert check.main(given) == 1
    assert said in capsys.readouterr().out.replace(f"{file}, ", "").replace(f"{file}: ", "")
    assert score.main(given) == 1


def test_a_threshold_chosen_on_the_test_is_told_with_both_scores(every, tmp_path, capsys):
    every.handed(tmp_path / "out", "--method", "connected")
    out = capsys.readouterr().out
    tuned = json.loads((tmp_path / "out/score.json").read_text())["tuned"]["choice"]
    whole, curve = reranked(every.dist), {}
    for text in tuned["curve"]:
        labels = np.zeros(N, int)
        for number, part in enumerate(chained(whole, np.float32(text))):
            labels[list(part)] = number
        curve[float(text)] = cluster_figures(labels, PIDS)["ari"]
    assert {float(k): v for k, v in tuned["curve"].items()} == pytest.approx(curve)
    best = [t for t, v in curve.items() if v == max(curve.values())]
    assert tuned["threshold"] == best[len(best) // 2]
    assert tuned["honest"] <= tuned["looked_at"] + 0.02 and min(tuned["halves"]) > 0
    assert f"looked-at {100 * tuned['looked_at']:.1f}, honest {100 * tuned['honest']:.1f}" in out
    assert "note: the threshold was chosen on the labels of the test" in out


def test_identities_are_those_of_anchored_clusters(halves, tmp_path, capsys):
    file, rows = halves.handed(tmp_path / "out", "--format", "identities_csv", "--threshold", "0.55")
    said = capsys.readouterr().out
    gallery = np.array([PIDS[i] < 16 and i % EACH < 2 for i in range(N)])
    known = np.where(gallery, PIDS, -1)
    want = {}
    for part in slow_average(reranked(halves.dist), 0.55, known):
        (who,) = {known[i] for i in part} - {-1} or {NEW}
        want |= {NAMES[i]: "new_individual" if who == NEW else f"cat{who}" for i in part if not gallery[i]}
    assert rows == want
    new = sum(label == "new_individual" for label in rows.values())
    assert 4 < new < len(rows) - 10
    order = [i for i in range(N) if not gallery[i]]
    answers = [NEW if rows[NAMES[i]] == "new_individual" else int(rows[NAMES[i]][3:]) for i in order]
    figures = known_or_new_figures(answers, PIDS[order], np.arange(16))
    given = ["--data", str(halves.root), "--format", "identities_csv"]
    assert score.main([str(file), *given]) == 0
    told = capsys.readouterr().out
    assert all(
        f"{name} {100 * value:.1f} (" in told and f"{name} {100 * value:.1f} (" in said
        for name, value in figures.items()
    )
    file.write_text(file.read_text().replace(",cat", ",dog"))
    assert check.main([str(file), *given]) == 1
    assert "is neither a known identity nor new_individual" in capsys.readouterr().out


def test_a_query_of_the_gallery_is_no_known_identity(tmp_path):
    """Of each of 16 people one image is gallery alone, one is both; the others are queries."""
    sides = [("g", "qg", "q", "q")[i % EACH] if PIDS[i] < 16 else "q" for i in range(N)]
    made = Set(tmp_path / "set", sides, "competition.junk=itself")
    _, rows = made.handed(tmp_path / "out", "--format", "identities_csv", "--threshold", "0.55")
    known = np.where([side == "g" for side in sides], PIDS, -1)
    want = {}
    for part in slow_average(reranked(made.dist), 0.55, known):
        (who,) = {known[i] for i in part} - {-1} or {NEW}
        want |= {NAMES[i]: "new_individual" if who == NEW else f"cat{who}" for i in part if sides[i] != "g"}
    assert rows == want and len({*rows.values()}) > 10


def test_domains_stay_apart_and_other_distances_are_means(tmp_path):
    """Two members summed and not re-ranked, in two domains."""
    made = Set(
        tmp_path / "set", ["qg"] * N, "competition.junk=itself", "ensemble.rerank=none", twice=True, domains=True
    )
    whole = np.where(PIDS[:, None] % 2 == PIDS % 2, np.minimum(made.dist, 1), 1)
    _, rows = made.handed(tmp_path / "out", "--threshold", "0.6")
    assert sets_of(rows) == slow_average(whole, 0.6) and len({*rows.values()}) < N - 20


def test_a_threshold_for_identities_is_better_than_the_ends(halves, tmp_path):
    halves.handed(tmp_path / "out", "--format", "identities_csv")
    tuned = json.loads((tmp_path / "out/score.json").read_text())["tuned"]
    curve = list(tuned["choice"]["curve"].values())
    assert tuned["score"] == "baks_baus" and tuned["hidden"] == 0
    assert max(curve) > max(curve[0] or 0, curve[-1] or 0) + 0.1


def test_what_is_refused(every, halves, tmp_path):
    with pytest.raises(ConfigError, match="could join two known identities"):
        halves.handed(tmp_path / "a", "--format", "identities_csv", "--method", "dbscan")
    with pytest.raises(DataError, match="so no identity is known beforehand; take the format clusters_csv"):
        every.handed(tmp_path / "b", "--format", "identities_csv", "--threshold", "0.4")
    with pytest.raises(ConfigError, match="want 0 to below 1"):
        every.handed(tmp_path / "c", "--threshold", "1.5")
    with pytest.raises(ConfigError, match="has no option 'least'"):
        every.handed(tmp_path / "d", "--threshold", "0.5", "--least", "3")
    assert not [*tmp_path.iterdir()]


def test_a_test_without_labels_needs_a_number(tmp_path, capsys):
    made = Set(tmp_path / "set", ["qg"] * N, "competition.junk=itself", labels=[None] * N)
    with pytest.raises(ConfigError, match=r"build with --holdout 0\.2, or give a number"):
        made.handed(tmp_path / "out")
    _, rows = made.handed(tmp_path / "out", "--threshold", "0.6")
    assert sets_of(rows) == slow_average(reranked(made.dist), 0.6)
    assert "over identities" not in capsys.readouterr().out


def test_lists_are_not_made_of_such_a_format(tmp_path):
    made = Set(tmp_path / "set", ["qg"] * N, "competition.junk=itself", "competition.format=clusters_csv")
    with pytest.raises(ConfigError, match=r"python -m submit\.clusters writes it"):
        make.main(["--runs", str(made.runs), "--out", str(tmp_path / "lists")])
    file, _ = made.handed(tmp_path / "out", "--threshold", "0.6")
    assert file.name == "clusters.csv"
