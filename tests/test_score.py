"""submit.score on files, against the oracle and against what submit.make scored."""

import json
import re

import numpy as np
import pytest

from configs.command import run
from submit import score
from tests import oracles


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Market folder of empty files: 6 people, 4 cameras, distractors and junk; nothing is decoded."""
    root = tmp_path_factory.mktemp("market")
    rng = np.random.default_rng(0)
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (root / name).mkdir()
    for pid in range(1, 7):
        for cam in (1, 2):
            (root / "query" / f"{pid:04d}_c{cam}s1_{pid:06d}_00.jpg").touch()
        for shot in range(5):
            (root / "bounding_box_test" / f"{pid:04d}_c{rng.integers(1, 5)}s1_{shot:06d}_01.jpg").touch()
    for shot in range(8):
        (root / "bounding_box_test" / f"0000_c{shot % 4 + 1}s1_{shot:06d}_01.jpg").touch()
        (root / "bounding_box_test" / f"-1_c{shot % 4 + 1}s1_{shot:06d}_01.jpg").touch()
    return root


def images(folder, name):
    names = sorted(p.name for p in (folder / name).iterdir() if not p.name.startswith("-1"))
    return names, *zip(*(map(int, re.match(r"(\d+)_c(\d)", n).groups()) for n in names), strict=True)


def submit(folder, seed, strength, length=None):
    """Lists that put the right images first more or less often: order and the file's content."""
    (queries, qpids, _), (gallery, gpids, _) = (images(folder, n) for n in ("query", "bounding_box_test"))
    rng = np.random.default_rng(seed)
    right = np.array(qpids)[:, None] == np.array(gpids)
    order = np.argsort(rng.random(right.shape) - strength * right, axis=1)[:, :length]
    return order, json.dumps({q: [gallery[i] for i in row] for q, row in zip(queries, order, strict=True)})


def scored(capsys, *argv):
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        run(lambda: score.main([str(a) for a in argv]))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return left.value.code, said.out + said.err


def row(out, name):
    return [float(x) for x in re.findall(r"-?\d+\.\d", next(x for x in out.splitlines() if x.startswith(name + "  ")))]


@pytest.mark.parametrize(
    ("argv", "ap", "length", "said"),
    [
        ([], "market", None, "AP 'market', junk: same person, same camera"),
        (["--ap", "hits", "--set", "competition.top_k=10"], "hits", 10, "AP 'hits' at 10"),
        (["--ap", "relevant_at_k", "--set", "competition.top_k=10"], "relevant_at_k", 10, "'relevant_at_k' at 10"),
        (["--set", "competition.top_k=10"], "relevant", 10, "AP 'relevant' at 10"),
    ],
)
def test_the_score_is_the_oracles(folder, tmp_path, capsys, argv, ap, length, said):
    order, content = submit(folder, 1, 0.4, length)
    (tmp_path / "sub.json").write_text(content)
    status, out = scored(capsys, tmp_path / "sub.json", "--competition", "market1501", "--data", folder, *argv)
    (_, qpids, qcams), (_, gpids, gcams) = (images(folder, n) for n in ("query", "bounding_box_test"))
    want = oracles.evaluate(order.tolist(), qpids, gpids, qcams, gcams, ap=ap, junk="market", top_k=length)
    total = (want["rank1"] + want["map"]) / 2
    assert status == 0 and said in out
    got = row(out, str(tmp_path / "sub.json"))
    assert got[:4] == pytest.approx([100 * x for x in (want["rank1"], want["cmc"][4], want["map"], total)], abs=0.051)
    assert got[4] <= got[3] <= got[5]
    assert ("lists are cut" in out) == (ap == "relevant")


def test_a_second_file_is_compared_on_the_same_queries(folder, tmp_path, capsys):
    for name, seed, strength in (("a.json", 1, 0.1), ("b.json", 2, 0.9)):
        (tmp_path / name).write_text(submit(folder, seed, strength)[1])
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    rules = ["--competition", "market1501", "--data", folder]
    status, out = scored(capsys, a, b, *rules)
    gain = row(out, str(b))[3] - row(out, str(a))[3]
    line = next(x for x in out.splitlines() if " against " in x)
    assert status == 0 and line.startswith(f"{b} against {a}: total ") and line.endswith("more than chance")
    assert float(re.search(r"total ([+-]\d+\.\d)", line)[1]) == pytest.approx(gain, abs=0.11)
    same = scored(capsys, a, a, *rules)[1]
    assert "total +0.0 (+0.0 to +0.0); chance alone could do it" in same
    wide = scored(capsys, a, *rules, "--by-person")[1]
    assert row(wide, str(a))[:4] == row(same, str(a))[:4]


def test_a_file_counted_from_the_wrong_number_is_suspected(folder, tmp_path, capsys):
    """Lists cut so that both ends of the numbers stay in range: only the labels give it away."""
    order, _ = submit(folder, 3, 0.95, 4)
    order = np.where((order == 0) | (order == 37), 20, order)  # so that it is valid either way
    lines = [list(dict.fromkeys(row)) + [i for i in range(1, 37) if i not in row] for row in order.tolist()]
    (tmp_path / "track2.txt").write_text("".join(" ".join(str(i) for i in row[:4]) + "\n" for row in lines))
    rules = ["--data", folder, "--competition", "market1501", "--format", "aicity_txt", "--set", "competition.top_k=4"]
    status, out = scored(capsys, tmp_path / "track2.txt", *rules)
    assert status == 0 and "with every number one higher it would score" in out
    (tmp_path / "right.txt").write_text("".join(" ".join(str(i + 1) for i in row[:4]) + "\n" for row in lines))
    assert "with every number" not in scored(capsys, tmp_path / "right.txt", *rules)[1]


def test_an_invalid_file_is_not_scored(folder, tmp_path, capsys):
    (tmp_path / "sub.json").write_text("{}")
    status, out = scored(capsys, tmp_path / "sub.json", "--competition", "market1501", "--data", folder)
    assert status == 1 and "is not answered" in out and "mAP" not in out


def test_nothing_to_score_against(tmp_path, capsys):
    for name in ("train/images", "test/query", "test/gallery"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").touch()
    (tmp_path / "train/label.txt").write_text("1.png:1\n")
    status, out = scored(capsys, tmp_path / "sub.json", "--competition", "naic2020", "--data", tmp_path)
    assert status == 2 and "nothing to score" in out
    status, out = scored(capsys, tmp_path / "s", "--format", "pairs_csv", "--competition", "own", "--data", tmp_path)
    assert status == 2
