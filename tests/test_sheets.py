"""The sheets for a person: groups in rows, and ABP's borders on images."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from configs.errors import ConfigError, ResultError
from ensemble.pseudo import __main__ as pseudo
from models.data.sheets import group_sheet as sheet
from models.heads import __main__ as heads


@pytest.fixture
def pictures(tmp_path):
    """Eight pictures, each of one grey: 0, 30, 60 ..."""
    paths = [tmp_path / f"{i}.png" for i in range(8)]
    for i, path in enumerate(paths):
        Image.new("RGB", (16, 32), (30 * i,) * 3).save(path)
    return paths


def test_groups_lie_in_rows_and_strangers_are_framed(pictures):
    labels, pids = np.array([1, 0, 0, 0, 1, -1, -1, 0]), np.array([7, 5, 5, 6, 7, 1, 1, 5])
    seen = np.asarray(sheet.group_sheet(pictures, labels, pids, size=(32, 16), columns=4))
    assert seen.shape == (sheet.TOP + 2 * (32 + sheet.GAP), sheet.LEFT + 4 * (16 + sheet.GAP), 3)

    def at(row, column):
        top, left = sheet.TOP + row * (32 + sheet.GAP), sheet.LEFT + column * (16 + sheet.GAP)
        return seen[top + 16, left + 8].tolist(), seen[top, left].tolist()

    for column, image in enumerate((1, 2, 3, 7)):  # the larger group comes first; image 3 is somebody else
        middle, corner = at(0, column)
        assert middle == [30 * image] * 3
        assert corner == (list(sheet.WRONG) if image == 3 else middle)
    assert [at(1, c)[0][0] for c in range(2)] == [0, 120]
    assert at(1, 2)[0] == list(sheet.PAPER)


def test_a_long_title_is_broken_and_moves_the_rows_down(pictures):
    labels, words = np.zeros(8, int), [f"word{i}" for i in range(20)]
    plain = np.asarray(sheet.group_sheet(pictures, labels, None, size=(32, 16), columns=4))
    seen = np.asarray(sheet.group_sheet(pictures, labels, None, size=(32, 16), columns=4, title=" ".join(words)))
    font = ImageFont.load_default(12)
    lines = sheet.wrapped(" ".join(words), font, 100)
    assert " ".join(lines).split() == words and len(lines) > 3 and all(font.getlength(line) <= 100 for line in lines)
    more = len(seen) - len(plain)
    assert more > 0 and more % sheet.LINE == 0
    assert (seen[-36:] == plain[-36:]).all(), "the pictures themselves are the same"
    written = (seen[: sheet.TOP + more] != sheet.PAPER).any(axis=(1, 2))
    assert written[-sheet.LINE :].any(), "the last line is written too"


def test_no_group_no_sheet(pictures):
    with pytest.raises(ConfigError, match="no group to show"):
        sheet.group_sheet(pictures, np.full(8, -1), None, size=(32, 16))


def test_the_groups_of_a_build(tiny_build, tmp_path, capsys):
    argv = ["--runs", str(tiny_build.runs), "--method", "clusters", "--groups", "5", "--sheet", str(tmp_path / "g.png")]
    pseudo.main(argv)
    assert str(tmp_path / "g.png") in capsys.readouterr().out
    with Image.open(tmp_path / "g.png") as seen:
        rows, title = divmod(seen.height - sheet.TOP, pseudo.SHEET_HEIGHT + sheet.GAP)
    assert rows == 5 and title % sheet.LINE == 0
    with pytest.raises(ConfigError, match="--round 2: the rounds of this build with labels are none"):
        pseudo.main(["--runs", str(tiny_build.runs), "--round", "2"])


def test_borders_lie_where_the_stripes_end():
    images = np.full((1, 40, 20, 3), 200, np.uint8)
    cut = torch.tensor([[[1, 0, 0, 0], [0, 1, 1, 1]]], dtype=torch.bool)
    seen = np.asarray(heads.stripe_sheet(images, [cut], torch.tensor([[3, 1, 0, 0]]), columns=1))
    red = (seen == heads.CUT).all(axis=2)
    rows = sorted(set(np.flatnonzero(red.any(axis=1)) - heads.TOP))
    assert rows and set(rows) <= {9, 10, 11}  # a quarter of 40, two pixels wide
    grey = (seen == heads.EQUAL).all(axis=2)
    assert set(np.flatnonzero(grey.any(axis=1)) - heads.TOP) <= {19, 20, 21}
    blue = (seen == heads.BAR).all(axis=2).sum(axis=1)
    assert blue[heads.TOP + 2] > 2 * blue[heads.TOP + 12] > 0


def test_the_stripes_of_a_trained_member(tiny_build, tmp_path, capsys):
    member = next((tiny_build.runs / "members").glob("a-*"))
    argv = ["--data", str(tiny_build.people), "--images", "4", "--out", str(tmp_path / "s.png")]
    heads.main(["--member", str(member), *argv])
    with Image.open(tmp_path / "s.png") as seen:
        height = seen.height
    assert height == heads.TOP + 64 + heads.GAP
    assert "this member was trained without ABP" in capsys.readouterr().out
    with pytest.raises(ResultError, match="no trained member is there"):
        heads.main(["--member", str(tmp_path), *argv])


def test_what_a_head_with_abp_cuts():
    """The stripes on the sheet are those that the head pools by: a map whose maxima lie above gets its cut there."""
    from configs.schema import Member
    from models.registry import make_net

    backbone = {"name": "resnet", "depth": 26, "base": 8}
    member = Member.model_validate({"name": "m", "backbone": backbone, "head": {"name": "mgn", "adaptive": True}})
    stripes, counts = heads.cut_maps(make_net(member, 3).eval(), np.zeros((2, 64, 32, 3), np.uint8), 5)
    assert heads.has_abp(make_net(member, 3))
    assert [s.shape for s in stripes] == [(2, 2, 4), (2, 3, 4)] and counts.shape == (2, 4)
    plain = Member.model_validate({"name": "m", "backbone": backbone})
    stripes, _ = heads.cut_maps(make_net(plain, 3).eval(), np.zeros((2, 64, 32, 3), np.uint8), 4)
    assert [s.shape for s in stripes] == [(2, 4, 4)]
