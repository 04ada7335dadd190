"""submit.make on a build of the command line: the file by an independent reader, the scores by the oracle."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from configs.errors import ResultError, SubmissionError
from ensemble import build
from ensemble.results.build_record import Evaluation
from ensemble.results.ranking import Ranking
from submit import check, make
from submit.build_scores import Row
from submit.formats import FORMATS
from submit.formats.base import Names
from tests import oracles
from tests.conftest import TINY, run_command

K1, K2, LAM, POWER = 20, 6, 0.3, 2


@pytest.fixture(scope="module")
def made(tiny_build, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "submission"
    return out, run_command("submit.make", "--runs", tiny_build.runs, "--out", out)


def market_lists(folder):
    """Names, identities and cameras of a Market folder without its junk, in the order of the names."""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("-1"))
    labels = [re.match(r"(\d+)_c(\d)", n).groups() for n in names]
    return names, [int(p) for p, _ in labels], [int(c) for _, c in labels]


def kept_features(runs):
    """Member -> features (N, D), query first, as the last build recorded them, by nothing but NumPy and JSON."""
    build = json.loads((runs / json.loads((runs / "last.json").read_text())["build"] / "build.json").read_text())
    banks = build["evaluations"]["test"]["banks"]
    return {member: np.load(runs / key / "feats.npy") for member, key in banks.items()}


def test_says_where_it_wrote_on_its_last_line(made):
    out, done = made
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(out)
    assert sorted(p.name for p in out.iterdir()) == ["score.json", "submission.json"]


def test_the_submission_is_valid(made, people):
    queries, gallery = (market_lists(people / f)[0] for f in ("query", "bounding_box_test"))
    handed = json.loads((made[0] / "submission.json").read_bytes().decode("utf-8"), object_pairs_hook=list)
    assert [query for query, _ in handed] == queries
    for _, names in handed:
        assert sorted(names) == gallery  # 61 images, less than K: all of them, each once


def shaken(dist, seed):
    """The distances, known only as well as float32 knows them: symmetric noise of its rounding."""
    noise = np.random.default_rng(seed).uniform(-3e-7, 3e-7, dist.shape)
    return np.maximum(dist + noise + noise.T, 0)


def test_every_score_is_the_oracles(made, tiny_build, people):
    """Features of an untrained network lie close: ranks that float32 cannot tell apart bound what is right."""
    (_, qpids, qcams), (_, gpids, gcams) = (market_lists(people / f) for f in ("query", "bounding_box_test"))
    feats = kept_features(tiny_build.runs)
    assert list(feats) == ["a", "b"]
    dists = {member: 1 - f.astype(np.float64) @ f.astype(np.float64).T for member, f in feats.items()}
    dists["sum"] = dists["a"] + dists["b"]
    dists["sum, re-ranked"] = dists["sum"]
    rows = json.loads((made[0] / "score.json").read_text())["scores"]["test"]
    assert [row["name"] for row in rows] == list(dists)
    n = len(qpids)
    for row in rows:
        answers = []
        for seed in range(6):
            dist = shaken(dists[row["name"]], seed)
            dist = oracles.k_reciprocal(dist, n, K1, K2, LAM, POWER) if "re-ranked" in row["name"] else dist[:n, n:]
            answers.append(oracles.evaluate(dist, qpids, gpids, qcams, gcams, ap="market", junk="market"))
        for key in ("rank1", "map", "minp"):
            values = [answer[key] for answer in answers]
            least, most = min(values), max(values)
            step = 1 / n if key == "rank1" else 0.0  # rank-1 moves by whole queries: one may be a tie
            assert most - least < step + 0.02, "too wide to say anything"
            assert least - (most - least) - 1e-9 <= row[key] <= most + (most - least) + 1e-9, (row["name"], key)
        assert row["cmc"] == pytest.approx([answers[0]["cmc"][r - 1] for r in (1, 5, 10)], abs=0.06)
        assert row["total"] == pytest.approx((row["rank1"] + row["map"]) / 2)
        assert (row["scored"], row["skipped"]) == (answers[0]["scored"], answers[0]["skipped"]) == (18, 0)
        assert "ap=market" in row["signature"] and "junk=same_pid_same_cam" in row["signature"]
    assert "k1=20,k2=6,lam=0.3,power=2" in rows[-1]["signature"] and "rerank=none" in rows[0]["signature"]


def test_the_submission_is_what_was_scored(made, people):
    """The lists of the file, scored by the oracle, give the last row of score.json."""
    (queries, qpids, qcams), (gallery, gpids, gcams) = (
        market_lists(people / f) for f in ("query", "bounding_box_test")
    )
    handed = json.loads((made[0] / "submission.json").read_text())
    place = {name: i for i, name in enumerate(gallery)}
    lists = [[place[name] for name in handed[query]] for query in queries]
    want = oracles.evaluate(lists, qpids, gpids, qcams, gcams, ap="market", junk="market")
    row = json.loads((made[0] / "score.json").read_text())["scores"]["test"][-1]
    assert row["rank1"] == pytest.approx(want["rank1"])
    assert row["map"] == pytest.approx(want["map"], abs=1e-6)


def test_the_table_tells_the_same_scores(made):
    out, done = made
    rows = json.loads((out / "score.json").read_text())["scores"]["test"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith("test: 18 queries x 61 gallery images; AP 'market', junk: same person, same camera")
    for row in rows:
        line = next(x for x in lines if x.startswith(row["name"] + "  "))
        assert line.split()[-4:] == [f"{100 * row[k]:.1f}" for k in ("rank1", "map", "minp", "total")]
    assert "note: lists of 61, not 200: the gallery has no more" in lines


def test_an_earlier_submission_is_compared(made, tiny_build, tmp_path, capsys):
    argv = ["--runs", str(tiny_build.runs), "--out", str(tmp_path / "again"), "--against"]
    make.main([*argv, str(made[0])])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("test: sum, re-ranked against sum, re-ranked of ") and "total +0.0" in lines[-2]
    other = json.loads((made[0] / "score.json").read_text().replace("ap=market", "ap=hits"))
    (tmp_path / "score.json").write_text(json.dumps(other))
    make.main([*argv, str(tmp_path)])
    assert "not comparable" in (line := capsys.readouterr().out.splitlines()[-2]) and "ap is hits in one" in line
    with pytest.raises(ResultError, match=r"give a folder that submit.make wrote"):
        make.main([*argv, str(tmp_path / "none")])


def test_a_second_run_only_reads(made, tiny_build, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in tiny_build.runs.rglob("*") if p.is_file() and ".locks" not in p.parts}
    make.main(["--runs", str(tiny_build.runs), "--out", str(tmp_path / "again")])
    after = {p: p.stat().st_mtime_ns for p in tiny_build.runs.rglob("*") if p.is_file() and ".locks" not in p.parts}
    assert after == before
    for name in ("submission.json", "score.json"):
        assert (tmp_path / "again" / name).read_bytes() == (made[0] / name).read_bytes()


def test_no_build_is_said(tmp_path):
    with pytest.raises(ResultError, match=r"no such folder. Run python -m ensemble.build first"):
        make.main(["--runs", str(tmp_path / "nothing")])
    with pytest.raises(ResultError, match="no finished build"):
        make.main(["--runs", str(tmp_path)])


@pytest.mark.parametrize("key", ["builds/own-0123456789ab", "../elsewhere", "/etc", "builds"])
def test_another_builds_key(tiny_build, key):
    with pytest.raises(ResultError, match=rf"--build '{key}': .* has builds/own-"):
        make.main(["--runs", str(tiny_build.runs), "--build", key])


NAMES = Names(("q1.png", "q2.png"), ("g1.png", "g2.png", "g3.png"))


def handed_in(order, top_k):
    order = np.array(order)
    ranking = Ranking(NAMES.query, NAMES.gallery, order, np.zeros(order.shape), "")
    return make.submission(ranking, FORMATS["naic_json"], NAMES, top_k)


def test_lists_that_break_the_rules_are_never_written():
    with pytest.raises(SubmissionError, match=r"'g1.png' occurs 2 times"):
        handed_in([[0, 0], [1, 2]], 2)
    with pytest.raises(SubmissionError, match=r"each of its 2 lists has length 1; wanted 2$"):
        handed_in([[0], [1]], 2)
    assert handed_in([[2, 0], [1, 2]], 2).startswith(b'{\n"q1.png": ["g3.png", "g1.png"]')


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_hands_in_the_build(tiny_build, made, tmp_path, name, capsys):
    """The same build in each format: a valid file, and the lists of the first format again."""
    queries, gallery = (market_lists(tiny_build.people / f)[0] for f in ("query", "bounding_box_test"))
    runs, people = tmp_path / "runs", tmp_path / "people"
    shutil.copytree(tiny_build.runs, runs)
    shutil.copytree(tiny_build.people, people)
    (people / "pairs.csv").write_text(f"row_id,query,gallery\n1,{queries[3]},{gallery[5]}\n")
    argv = ["--data", str(people), "--out", str(runs), "--members", "a,b", *TINY]
    build.main([*argv, "--set", f"competition.format={name}"])
    make.main(["--runs", str(runs), "--out", str(tmp_path / "out")])
    capsys.readouterr()
    file = tmp_path / "out" / FORMATS[name].file
    args = [str(file), "--data", str(people), "--layout", "drawn", "--format", name]
    assert check.main(args) == 0, capsys.readouterr().out
    sheet = FORMATS[name].read(file.read_bytes())
    if name == "pairs_csv":
        assert sheet.answers.queries == ["1"]
        return
    tokens = FORMATS[name].tokens(Names(tuple(queries), tuple(gallery)))
    name_of = dict(zip(tokens.gallery, gallery, strict=True))
    first = json.loads((made[0] / "submission.json").read_text())
    got = [[name_of[t] for t in names] for names in sheet.answers.lists]
    assert got == [first[q] for q in queries]


def test_what_cut_lists_say_nothing_of_is_not_shown(capsys):
    for ap, shown in (("hits", "-"), ("market", "40.0")):
        rows = [Row("a", 0.5, 0.5, 0.4, 0.5, (0.5,) * 3, 5, 0, f"ap={ap}|k=9|junk=none|skipped=0|weights=x")]
        make.show(Console(), "test", rows)
        out = capsys.readouterr().out
        (line,) = (line for line in out.splitlines() if line.startswith("a "))
        assert line.split()[3] == shown and ("mINP needs whole lists" in out) == (shown == "-")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (
            (-0.05, -0.08, -0.02),
            "lowers this total by 5.0 (-8.0 to -2.0, 95 % over persons); --set ensemble.rerank=none",
        ),
        ((-0.05, -0.12, 0.02), "lowers this total by 5.0 (-12.0 to +2.0, 95 % over persons): chance alone could do it"),
        ((0.05, -0.02, 0.08), ""),
        (None, ""),
    ],
)
def test_advice_on_re_ranking_comes_with_its_interval(capsys, gain, said):
    """And what chance alone could do is no reason to leave it out."""
    lists = Evaluation({}, "", None, [1], [1], [1], [1])
    rules = "ap=market|k=9|junk=none|skipped=0|weights=x"
    rows = [Row(name, 0.5, 0.5, 0.5, 0.5, (0.5,) * 3, 5, 0, rules) for name in ("a", "sum", "sum, re-ranked")]
    make.print_summary(
        Console(width=200), {"test": lists}, {"test": [*rows[:-1], replace(rows[-1], gain=gain)]}, 200, 200
    )
    out = capsys.readouterr().out
    assert (said in out) if said else ("lowers" not in out)
    assert ("rerank=none" in out) == ("rerank=none" in said)


def test_shorter_lists_are_said(capsys):
    lists = Evaluation({}, "", None, [1], [1], [1], [1])
    rows = [Row("a", 0.5, 0.5, 0.5, 0.5, (0.5,) * 3, 5, 0, "ap=market|k=9|junk=none|skipped=0|weights=x")]
    make.print_summary(Console(), {"test": lists}, {"test": rows}, 61, 200)
    assert "note: lists of 61, not 200: the gallery has no more" in capsys.readouterr().out


def test_totals_come_with_intervals(made):
    """The mean of the paired difference is the difference of the totals."""
    out, done = made
    rows = json.loads((out / "score.json").read_text())["scores"]["test"]
    for row in rows:
        assert row["spread"][0] <= row["total"] <= row["spread"][1] and row["spread"][0] < row["spread"][1]
    assert [row["gain"] is None for row in rows] == [True, True, True, False]
    mean, low, high = rows[-1]["gain"]
    assert mean == pytest.approx(rows[-1]["total"] - rows[-2]["total"]) and low <= mean <= high
    assert f"total of sum, re-ranked: {100 * rows[-1]['total']:.1f} (" in done.stdout


def test_a_folder_is_replaced_file_by_file(tmp_path):
    out = tmp_path / "sub"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    (out / "score.json").write_text('{"build": "", "file": "track2.txt", "scores": {}}')
    (out / "track2.txt").write_text("of the earlier build")
    make.write_folder(out, {"score.json": b"new", "submission.json": b"{}"})
    assert {p.name: p.read_text() for p in out.iterdir()} == {
        "mine.txt": "kept", "score.json": "new", "submission.json": "{}",
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["sub"]


@pytest.mark.parametrize("there", ["submission.json", "score.json", "thesis.tex"])
def test_a_folder_of_other_things_is_left_alone(tmp_path, there):
    (tmp_path / there).write_text("mine")
    with pytest.raises(ResultError, match=f"holds '{there}' and no score.json of a submission; give a new or empty"):
        make.write_folder(tmp_path, {"score.json": b"new", "submission.json": b"{}"})
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(there, "mine")]


def test_what_a_killed_writer_left_is_no_other_thing(tmp_path):
    (tmp_path / ".score.json.123.part").write_text("half")
    make.write_folder(tmp_path, {"score.json": b"new", "submission.json": b"{}"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["score.json", "submission.json"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="is a file"):
        make.write_folder(tmp_path / "file", {"a": b""})
    with pytest.raises(ResultError, match="cannot be written"):
        make.write_folder(Path("/proc/nowhere/sub"), {"a": b""})
