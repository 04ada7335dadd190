"""Images that lack an identity, a camera, a domain: unknown by themselves, they take nothing from the others."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from models.data.gaps import find_gaps
from models.data.heldout.board_split import shape_of
from models.data.heldout.holdout import can_be_found, choose_queries, hold_out
from models.data.layouts import read_layout
from models.data.split import Benchmark, Split, make_split
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery,camid"


def rows(junk_camera="1", stray_label="fox 99", stray_camera="7"):
    """Six people: a query, a near picture of the same camera, a far one of another; and one stranger."""
    found = []
    for i in range(6):
        found += [f"fox {i},q{i}.jpg,test,1,0,1", f"fox {i},s{i}.jpg,test,0,1,{junk_camera}"]
        found += [f"fox {i},o{i}.jpg,test,0,1,2"]
    return [*found, f"{stray_label},stray.jpg,test,0,1,{stray_camera}"]


@pytest.fixture
def member(tmp_path):
    angles = {}
    for i in range(6):
        angles |= {f"q{i}.jpg": i / 2, f"s{i}.jpg": i / 2 + 0.01, f"o{i}.jpg": i / 2 + 0.2}
    return write_member(tmp_path / "m.npz", angles | {"stray.jpg": 0.5 + 0.05})


def scored(tmp_path, member, name, *argv, **changes):
    root = write_table(tmp_path / name, HEADER, rows(*argv, **changes))
    return built(root, tmp_path / f"runs-{name}", member)[1][-1]


def test_one_missing_camera_leaves_the_junk_rule_on(tmp_path, member, capsys):
    whole = scored(tmp_path, member, "whole")
    capsys.readouterr()
    hole = scored(tmp_path, member, "hole", stray_camera="")
    said = capsys.readouterr().err
    assert "hurts: 1 image of 13 in gallery without camera (stray.jpg): its camera counts as different" in said
    keys = ("rank1", "map", "total", "scored", "skipped")
    assert [hole[k] for k in keys] == [whole[k] for k in keys] and whole["total"] < 1
    assert "junk=same_pid_same_cam" in hole["signature"]


def test_one_missing_label_is_never_right(tmp_path, member, capsys):
    whole = scored(tmp_path, member, "whole")
    hole = scored(tmp_path, member, "hole", stray_label="")
    said = capsys.readouterr().err
    assert "hurts: 1 image of 13 in gallery without identity (stray.jpg): it is never a correct match" in said
    assert (hole["total"], hole["scored"]) == (whole["total"], 6)


def test_a_query_without_a_label_is_answered_and_not_scored(tmp_path, member):
    root = write_table(tmp_path / "t", HEADER, [r.replace("fox 0,q0", ",q0") for r in rows()])
    lists, scores = built(root, tmp_path / "runs", member)
    assert len(lists) == 6 and (scores[-1]["scored"], scores[-1]["skipped"]) == (5, 1)


def test_no_camera_at_all_is_no_gap(tmp_path, member, capsys):
    root = write_table(tmp_path / "t", HEADER, [r.rpartition(",")[0] + "," for r in rows()])
    assert "junk=none" in built(root, tmp_path / "runs", member)[1][-1]["signature"]
    assert "without camera" not in capsys.readouterr().err


def test_a_domain_that_is_missing_is_named(tmp_path, member):
    lines = [f"{r},{'' if 'stray' in r else 'day'}" for r in rows()]
    root = write_table(tmp_path / "t", HEADER + ",domain", lines)
    with pytest.raises(
        ConfigError, match=r"1 of 13 gallery images have no domain, first 'stray\.jpg'; fill the column"
    ):
        built(root, tmp_path / "runs", member, "ensemble.domains=table")


def test_a_gap_is_a_list_of_both_kinds():
    def split(*pids):
        return make_split([(f"{i}.jpg", Path(f"{i}.jpg"), pid, pid) for i, pid in enumerate(pids)])

    mixed, none = split(1, -1), split(-1, -1)
    texts = [f.text for f in find_gaps(Benchmark("x", Path(), mixed, mixed, mixed, mixed))]
    assert [t.rpartition(" in ")[2] for t in texts] == [
        "train without camera",
        "query without identity",
        "query without camera",
        "gallery without identity",
        "gallery without camera",
    ]
    assert find_gaps(Benchmark("x", Path(), none, none, none, mixed)) == []


@pytest.mark.parametrize(
    ("cams", "able"), [([1], False), ([1, 1], False), ([1, -1], True), ([-1, -1], True), ([1, 2], True)]
)
def test_an_image_of_unknown_camera_finds_and_is_found(cams, able):
    assert can_be_found(np.array(cams)) == able
    if able:
        asking = choose_queries(np.arange(len(cams)), np.array(cams), np.random.default_rng(0))
        assert len(asking) == 1 and (set(cams) == {-1} or cams[asking[0]] != -1 or len(cams) > 2)


def test_one_missing_camera_changes_nobody_elses_part(tmp_path):
    """Held out and board: the other people ask as they did before."""
    pids, cams = np.repeat(np.arange(12), 4), np.tile([1, 1, 2, 2], 12)
    names = tuple(f"{i:02d}.jpg" for i in range(48))
    whole = Split(names, tuple(map(Path, names)), pids, cams)
    hole = Split(names, whole.paths, pids, np.where(np.arange(48) == 5, -1, cams))
    for train, query, gallery in (hold_out(whole, 0.5, 0), hold_out(hole, 0.5, 0)):
        assert len(train) == 24 and len(query) == 12 and len(gallery) == 12
    empty = make_split([])
    assert shape_of(Benchmark("x", Path(), hole, empty, empty, empty)).cameras


def test_layouts_tell_gaps(tmp_path):
    root = write_table(tmp_path / "t", HEADER, rows(stray_label=""))
    found = read_layout("table", root, wanted=("query", "gallery"))
    assert found.scorable and [f.text for f in found.found] == ["1 image of 13 in gallery without identity"]
