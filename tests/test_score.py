"""submit.score on files, against the oracle and against what submit.make scored."""

import json
import re

import numpy as np
import pytest

from configs.console.command import run
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
    order, content = submit(folder, 1, 0.0, length)
    (tmp_path / "sub.json").write_text(content)
    status, out = scored(capsys, tmp_path / "sub.json", "--competition", "market1501", "--data", folder, *argv)
    (_, qpids, qcams), (_, gpids, gcams) = (images(folder, n) for n in ("query", "bounding_box_test"))
    want = oracles.evaluate(order.tolist(), qpids, gpids, qcams, gcams, ap=ap, junk="market", top_k=length)
    total = (want["rank1"] + want["map"]) / 2
    assert want["cmc"][4] < want["cmc"][9]
    assert status == 0 and said in out
    got = row(out, str(tmp_path / "sub.json"))
    assert got[:4] == pytest.approx([100 * x for x in (want["rank1"], want["cmc"][4], want["map"], total)], abs=0.051)
    assert got[4] <= got[3] <= got[5]
    assert ("lists are cut" in out) == (ap == "relevant")
    asked = [*argv, "--set", f"competition.ap={ap}"]
    out = scored(capsys, tmp_path / "sub.json", "--competition", "market1501", "--data", folder, *asked)[1]
    assert "lists are cut" not in out, "nobody asked for more than is there"


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
    assert "total +0.0 (+0.0 to +0.0); could be chance" in same
    worse = next(x for x in scored(capsys, b, a, *rules)[1].splitlines() if " against " in x)
    assert float(re.search(r"total ([+-]\d+\.\d)", worse)[1]) == pytest.approx(-gain, abs=0.11)
    assert worse.endswith("; more than chance")


def first_right(folder, people):
    """A file whose first answer is right for both queries of these people, and for no others."""
    (queries, qpids, _), (gallery, gpids, _) = (images(folder, n) for n in ("query", "bounding_box_test"))
    right = np.array(qpids)[:, None] == np.array(gpids)
    order = np.argsort(np.where(np.isin(qpids, people)[:, None], ~right, right), axis=1, kind="stable")
    return json.dumps({q: [gallery[i] for i in row] for q, row in zip(queries, order, strict=True)})


@pytest.mark.parametrize(
    ("argv", "low", "high"), [([], 25.0, 75.0), (["--by-person"], 100 / 6, 500 / 6)], ids=["query", "person"]
)
def test_intervals_are_over_queries_or_over_persons(folder, tmp_path, capsys, argv, low, high):
    """Three of six people right, with both of their queries: hits are binomial of 12 queries, or of 6 people.

    P(2 or fewer of 12) = 0.019 and P(3 or fewer) = 0.073; P(0 of 6) = 0.016 and P(1 or none) = 0.109.
    """
    half, every = tmp_path / "half.json", tmp_path / "every.json"
    half.write_text(first_right(folder, [1, 2, 3]))
    every.write_text(first_right(folder, [1, 2, 3, 4, 5, 6]))
    rules = ["--competition", "market1501", "--data", folder, "--set", "competition.junk=none"]
    out = scored(capsys, half, every, *rules, "--set", "competition.score={rank1: 1, map: 0}", *argv)[1]
    assert f"95 %, over {'persons' if argv else 'queries'}" in out
    assert row(out, str(half))[3:] == pytest.approx([50, low, high], abs=0.051)
    assert row(out, str(every))[3:] == [100, 100, 100]
    gain = next(x for x in out.splitlines() if " against " in x)
    assert gain.endswith(f"total +50.0 (+{low:.1f} to +{high:.1f}); more than chance")


def test_a_total_is_of_the_competitions_weights(folder, tmp_path, capsys):
    """Weights that sum to 4: the total is not their mean."""
    (tmp_path / "sub.json").write_text(submit(folder, 1, 0.4)[1])
    rules = ["--competition", "market1501", "--data", folder, "--set", "competition.score={rank1: 3, map: 1}"]
    out = scored(capsys, tmp_path / "sub.json", *rules)[1]
    rank1, _, mean_ap, total, low, high = row(out, str(tmp_path / "sub.json"))
    assert total == pytest.approx(3 * rank1 + mean_ap, abs=0.21) and total > 100
    assert low < total < high and "total = 3 rank-1 + 1 mAP" in out


@pytest.mark.parametrize(("query", "own", "known"), [(1, 1, True), (1, "", False)])
def test_junk_goes_where_its_camera_is_told(tmp_path, capsys, query, own, known):
    """A list of own camera, stranger, right: AP is 1/2 without the first, and (1 + 2/3) / 2 with it."""
    lines = ["label,path,split,is_query,is_gallery,camid", f"a,q.png,test,1,,{query}"]
    lines += [f"a,g1.png,test,,1,{own}", "b,g2.png,test,,1,2", "a,g3.png,test,,1,2"]
    (tmp_path / "df.csv").write_text("\n".join(lines) + "\n")
    files = [line.split(",")[1] for line in lines[1:]]
    for name in files:
        (tmp_path / name).touch()
    (tmp_path / "sub.json").write_text(json.dumps({"q.png": files[1:]}))
    sets = ["--set", "competition.ap=market", "--set", "competition.junk=same_pid_same_cam"]
    out = scored(capsys, tmp_path / "sub.json", "--data", tmp_path, "--layout", "table", *sets)[1]
    want = [0, 100, 50] if known else [100, 100, 250 / 3]
    assert row(out, str(tmp_path / "sub.json"))[:3] == pytest.approx(want, abs=0.051)
    assert "AP 'market', junk: same person, same camera" in out


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


@pytest.mark.parametrize(("shift", "word"), [(1, "higher"), (-1, "lower")])
@pytest.mark.parametrize(("right", "suspected"), [(0, False), (1, False), (2, True)])
def test_a_file_is_suspected_of_a_wrong_number_where_it_would_score_five_points_more(
    folder, tmp_path, capsys, shift, word, right, suspected
):
    """Only rank-1 counts, by a half, so that each of 12 queries is 4.2 points; moved by one, so many become right.

    Places from 1: 8 strangers, then 5 images of person 1, 5 of person 2 and so on.
    """
    (_, qpids, _), _ = (images(folder, n) for n in ("query", "bounding_box_test"))
    firsts = [5] * 12
    for i in range(1, 1 + right):
        block = [9 + 5 * (qpids[i] - 1) + j for j in range(5)]
        firsts[i] = (block[0] if shift > 0 else block[-1]) - shift
    (tmp_path / "track2.txt").write_text("".join(f"{first} 1 2 3\n" for first in firsts))
    rules = ["--data", folder, "--competition", "market1501", "--format", "aicity_txt", "--set", "competition.top_k=4"]
    rules += ["--set", "competition.junk=none", "--set", "competition.score={rank1: 0.5, map: 0}"]
    out = scored(capsys, tmp_path / "track2.txt", *rules)[1]
    assert row(out, str(tmp_path / "track2.txt"))[3] == 0
    said = f"with every number one {word} it would score {50 * right / 12:.1f}, not 0.0"
    assert (said in out) == suspected and ("with every number" in out) == suspected


def test_an_invalid_file_is_not_scored(folder, tmp_path, capsys):
    (tmp_path / "sub.json").write_text("{}")
    (tmp_path / "good.json").write_text(submit(folder, 1, 0.4)[1])
    rules = ["--competition", "market1501", "--data", folder]
    for files in (["sub.json"], ["good.json", "sub.json"]):
        status, out = scored(capsys, *(tmp_path / name for name in files), *rules)
        assert status == 1 and "is not answered" in out and "mAP" not in out
    (tmp_path / "sub.json").write_text(json.dumps({str(i): [] for i in range(20)}))
    out = scored(capsys, tmp_path / "sub.json", *rules)[1]
    assert [f"... and {n} more like this" in out for n in (9, 17)] == [True, True]  # 12 queries, 20 strange ones
    assert sum(" is not answered" in x or " is not one of " in x for x in out.splitlines()) == 6


def test_lists_of_another_length_are_one_fault(folder, tmp_path, capsys):
    handed = {q: names[:4] for q, names in json.loads(submit(folder, 1, 0.4)[1]).items()}
    (tmp_path / "sub.json").write_text(json.dumps(handed))
    asked = [tmp_path / "sub.json", "--competition", "market1501", "--data", folder, "--set", "competition.top_k=5"]
    status, out = scored(capsys, *asked)
    (fault,) = (line for line in out.splitlines() if "wanted 5" in line)
    assert status == 1 and f"each of its {len(handed)} lists has length 4; wanted 5. Where 4 are right: --set" in fault
    assert scored(capsys, *asked[:-1], fault.rpartition("--set ")[2])[0] == 0


def test_a_rule_of_the_whole_gallery_is_refused_where_lists_are_cut(folder, tmp_path, capsys):
    (tmp_path / "sub.json").write_text(submit(folder, 1, 0.4)[1])
    asked = ["--competition", "market1501", "--data", folder, "--set", "competition.top_k=4", "--ap", "market"]
    status, out = scored(capsys, tmp_path / "sub.json", *asked)
    assert status == 2 and "--ap market needs full lists of" in out and "these lists have 4" in out


def test_nothing_to_score_against(tmp_path, capsys):
    for name in ("train/images", "test/query", "test/gallery"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.png").touch()
    (tmp_path / "train/label.txt").write_text("1.png:1\n")
    status, out = scored(capsys, tmp_path / "sub.json", "--competition", "naic2020", "--data", tmp_path)
    assert status == 2 and "nothing to score" in out
    status, out = scored(capsys, tmp_path / "s", "--format", "pairs_csv", "--competition", "own", "--data", tmp_path)
    assert status == 2
