"""Boards as they come: known animals and a test set asked of itself, and pairs of one set, through the commands."""

import csv

import numpy as np
from PIL import Image

import submit
from ensemble import build
from submit import check
from tests.test_itself import sets_of

MEMBER = {f"{who}{i}": 0.7 * at + i / 10 for at, who in enumerate(("fox", "owl", "cat")) for i in (1, 2, 3)}
JUNK = "competition.junk=[itself, same_pid_same_cam]"


def member(path, ending=""):
    feats = np.array([(np.cos(a), np.sin(a)) for a in MEMBER.values()], np.float32)
    np.savez(path, names=np.array([name + ending for name in MEMBER]), feats=feats)
    return path


def built(root, runs, member, *changes):
    argv = sets_of([JUNK, "ensemble.rerank=none", *changes])
    build.main(["--members", f"m={member}", "--data", str(root), "--out", str(runs), "--device", "cpu", *argv])
    return submit.make(runs=runs, out=runs / "out", device="cpu")


def test_boxes_of_one_photograph_are_asked_of_each_other(tmp_path, capsys):
    """metadata.csv of AnimalCLEF 2026: a test set without lists of its own; here with boxes and known animals."""
    root = tmp_path / "set"
    root.mkdir()
    Image.new("RGB", (90, 20)).save(root / "herd.png")
    rows = [f"{n},{n[:3]},herd.png,test,left,{i * 10},0,{i * 10 + 9},20" for i, n in enumerate(MEMBER)]
    (root / "metadata.csv").write_text(
        "image_id,identity,path,split,orientation,x_1,y_1,x_2,y_2\n" + "\n".join(rows) + "\n"
    )
    handed = built(root, tmp_path / "runs", member(tmp_path / "m.npz"))
    lists = handed.build.evaluations["test"].ranking.lists()
    assert lists["fox2"][:2] == ["fox1", "fox3"] and {len(row) for row in lists.values()} == {len(MEMBER) - 1}
    assert handed.scores["test"][0].rank1 == 1 and "|junk=itself|" in handed.scores["test"][0].signature
    assert "unknown column: 'orientation'" in capsys.readouterr().err
    assert check.main([str(handed.file), "--data", str(root), *sets_of([JUNK])]) == 0


def test_every_pair_of_one_set(tmp_path):
    """train.csv and test.csv of a board of pairs: the test images have no labels, and ask and are found."""
    root = tmp_path / "set"
    for folder in ("train", "test"):
        (root / folder).mkdir(parents=True)
    for name in MEMBER:
        (root / "test" / f"{name}.png").touch()
    (root / "train" / "known.png").touch()
    (root / "train.csv").write_text("filename,ground_truth\nknown.png,emu\n")
    pairs = [(a, b) for a in MEMBER for b in MEMBER]
    lines = [f"{i},{a}.png,{b}.png" for i, (a, b) in enumerate(pairs)]
    (root / "test.csv").write_text("row_id,query_image,gallery_image\n" + "\n".join(lines) + "\n")
    changes = ["competition.format=pairs_csv", "competition.top_k=9"]
    handed = built(root, tmp_path / "runs", member(tmp_path / "m.npz", ".png"), *changes)
    with open(handed.file, encoding="utf-8", newline="") as file:
        got = [(row["row_id"], float(row["similarity"])) for row in csv.DictReader(file)]
    want = [1 / (1 + (1 - np.cos(MEMBER[a] - MEMBER[b]))) for a, b in pairs]
    assert [row for row, _ in got] == [str(i) for i in range(len(pairs))]
    np.testing.assert_allclose([similarity for _, similarity in got], want, atol=1e-6)
    assert check.main([str(handed.file), "--data", str(root), *sets_of([JUNK, *changes])]) == 0
