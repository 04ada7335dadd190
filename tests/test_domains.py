"""Domains and tracks through a whole build: the table's columns, the colours of pictures, AI City's tracks."""

import json

import numpy as np
import pytest
from PIL import Image

from configs.console.command import run
from ensemble import build
from ensemble.features import external
from ensemble.pipeline.domains import describe
from models.data.layouts import read_layout
from submit import make
from tests import oracles
from tests.features import clustered

Q, G = 6, 20


@pytest.fixture
def data(tmp_path):
    """6 queries and 20 gallery images of two people: dark ones normal, light ones green; some on tracks."""
    rng = np.random.default_rng(0)
    light = rng.random(Q + G) < 0.5
    tracks = ["" if t == 0 else f"p{i % 2}t{t}" for i, t in enumerate(rng.integers(0, 5, G))]
    lines = ["label,path,split,is_query,is_gallery,domain,track"]
    for i in range(Q + G):
        query = int(i < Q)
        domain = "day" if light[i] else "night"
        track = "" if query else tracks[i - Q]
        lines.append(f"p{i % 2},{'q' if query else 'g'}{i:02d}.png,test,{query},{1 - query},{domain},{track}")
        level = 66 if light[i] else 65  # over 65 in every channel is green
        Image.new("RGB", (8, 8), (level, 200, 66)).save(tmp_path / lines[-1].split(",")[1])
    (tmp_path / "df.csv").write_text("\n".join(lines) + "\n")
    feats = clustered(rng, Q + G, 8, 4)
    external.save(tmp_path / "m.npz", [line.split(",")[1] for line in lines[1:]], feats)
    return tmp_path, feats, light, tracks


def built(folder, *sets):
    """The submission as lists of gallery rows, and the scores."""
    argv = ["--data", str(folder), "--out", str(folder / "runs"), "--members", str(folder / "m.npz")]
    build.main([*argv, *(part for change in ("ensemble.k1=4", "ensemble.k2=2", *sets) for part in ("--set", change))])
    make.main(["--runs", str(folder / "runs"), "--out", str(folder / "sub")])
    lists = json.loads((folder / "sub/submission.json").read_text())
    scores = json.loads((folder / "sub/score.json").read_text())["scores"]["test"]
    return [[int(name[1:3]) - Q for name in lists[query]] for query in sorted(lists)], scores


def by_domain(feats, light, settings):
    """(Q, G): each domain alone by the oracle, then the others by plain distance."""
    plain = oracles.fused_distance([feats], [1.0])[:Q, Q:]
    dist = plain + 10
    for value, (k1, k2, lam) in settings.items():
        query, gallery = np.flatnonzero(light[:Q] == value), np.flatnonzero(light[Q:] == value)
        rows = [*query, *(Q + gallery)]
        dist[np.ix_(query, gallery)] = oracles.k_reciprocal(
            oracles.fused_distance([feats[rows]], [1.0]), len(query), k1, k2, lam, 2
        )
    return dist


@pytest.mark.parametrize(("how", "names"), [("table", ("day", "night")), ("colours", ("green", "normal"))])
def test_lists_and_scores_of_retrieval_by_domain(data, capsys, how, names):
    folder, feats, light, _ = data
    own = f"ensemble.domain_settings={{{names[0]}: {{k1: 3, k2: 1, lam: 0.7}}}}"
    lists, scores = built(folder, f"ensemble.domains={how}", own)
    want = by_domain(feats, light, {True: (3, 1, 0.7), False: (4, 2, 0.3)})
    assert lists == [oracles.rank_list(row) for row in want]
    pids = np.arange(Q + G) % 2
    answer = oracles.evaluate(want, pids[:Q], pids[Q:], ap="market", junk="none")
    assert scores[-1]["name"] == "m, re-ranked by domain"
    assert scores[-1]["map"] == pytest.approx(answer["map"], abs=1e-6) and scores[-1]["rank1"] == answer["rank1"]
    assert f"{names[0]}:k_reciprocal(k1=3,k2=1,lam=0.7,power=2)+{names[1]}:k_rec" in scores[-1]["signature"]
    said = capsys.readouterr().err
    there = int(light[Q:].sum())
    assert f"domain {names[0]}: {int(light[:Q].sum())} queries x {there} gallery images, fewer than a list" in said
    plain, _ = built(folder)
    assert plain != lists, "the address tells them apart"
    assert built(folder, f"ensemble.domains={how}", own)[0] == lists


def test_tracks_are_listed_as_a_whole(data):
    folder, feats, _, tracks = data
    lists, scores = built(folder, "ensemble.tracks=mean", "ensemble.rerank=none")
    units = [[j for j in range(G) if tracks[j] == t] for t in dict.fromkeys(tracks) if t]
    units = sorted(units + [[j] for j in range(G) if not tracks[j]])
    means = np.array([feats[[Q + j for j in unit]].mean(0) for unit in units])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert lists == [[j for u in oracles.rank_list(row) for j in units[u]] for row in 1 - feats[:Q] @ means.T]
    assert scores[-1]["name"] == "m by track" and "tracks=mean" in scores[-1]["signature"]


def refused(capsys, folder, *sets):
    argv = ["--data", str(folder), "--out", str(folder / "runs"), "--members", str(folder / "m.npz")]
    with pytest.raises(SystemExit) as left:
        run(lambda: build.main([*argv, *(part for change in sets for part in ("--set", change))]))
    assert left.value.code == 2
    return capsys.readouterr().err


def test_what_a_data_set_does_not_tell_is_refused_before_work(data, capsys):
    folder, *_ = data
    said = refused(capsys, folder, "ensemble.domains=table", "ensemble.domain_settings={dusk: {k1: 3}}")
    assert "domain_settings names 'dusk'; the table's domains: day, night" in said
    text = (folder / "df.csv").read_text()
    (folder / "df.csv").write_text("".join(",".join(x.split(",")[:5]) + "\n" for x in text.splitlines()))
    assert "the query list tells no domains" in refused(capsys, folder, "ensemble.domains=table")
    assert "this data set tells no tracks" in refused(capsys, folder, "ensemble.tracks=mean")
    assert "set ensemble.domains first" in refused(capsys, folder, "ensemble.domain_settings={green: {k1: 3}}")


def test_what_is_said_of_small_domains():
    lines = describe(["a", "a", "b"], ["a"] * 5 + ["c"] * 3, [0, 0, 1, -1, -1, 2, 2, 2], 4)
    assert lines == [
        "domain a: 2 queries x 5 gallery images",
        "domain b: 1 queries x 0 gallery images, fewer than a list takes: the other images follow after them, by plain "
        "distance",
        "domain c: no query, 3 gallery images that no list begins with",
        "3 tracks of 6 images, 2 images of none",
    ]


def test_ai_citys_tracks(tmp_path):
    """Lines of numbers with a space at the end, some with their file's name; an image of none; a wrong number."""
    for folder in ("train", "query", "test"):
        (tmp_path / f"image_{folder}").mkdir()
        for i in range(1, 12):
            (tmp_path / f"image_{folder}" / f"{i:06d}.jpg").touch()
    (tmp_path / "train_label.xml").write_text('<a><Item imageName="000001.jpg" vehicleID="1" cameraID="c1"/></a>')
    assert read_layout("aicity", tmp_path).gallery.tracks is None
    (tmp_path / "test_track_id.txt").write_text("3 1 \r\n10 11 2 \n000005.jpg\n")
    assert read_layout("aicity", tmp_path).gallery.tracks.tolist() == [0, 1, 0, -1, 2, -1, -1, -1, -1, 1, 1]
    for text, words in (
        ("1 2\n2 3\n", "line 2: '2' is in another track"),
        ("1 99\n", "'99' is not in image_test"),
    ):
        (tmp_path / "test_track_id.txt").write_text(text)
        with pytest.raises(ValueError, match=words):
            read_layout("aicity", tmp_path)
