"""Drawn people: Market's rules hold, the same request gives the same bytes, and a folder is whole or not there."""

import csv
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.data.drawn import DrawnFolderError, draw_people, picture, world
from models.data.drawn.__main__ import main
from models.data.drawn.figure import draw_person
from models.data.drawn.person import GROUP, make_person
from models.data.drawn.picture import Shot, take_picture
from models.data.drawn.plan import GALLERY, NAMELESS, QUERY, TRAIN, plan_entries
from models.data.drawn.pose import strike_pose
from models.data.drawn.tube import Light, draw_tube
from models.data.drawn.view import View, around, nearness, project
from models.data.drawn.world import make_plates

REQUEST = {"ids": 12, "seed": 3, "size": (48, 24)}
MARKET = re.compile(r"(-1|\d{4})_c([1-6])s([1-9])_(\d{6})_(\d{2})\.jpg")
LIGHT = Light(azimuth=0.0, ambient=1.0, diffuse=0.0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", **REQUEST, n_jobs=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named(folder: Path) -> list[tuple[int, int]]:
    """(pid, camera) of each file of a Market folder."""
    matches = [MARKET.fullmatch(path.name) for path in sorted(folder.iterdir())]
    assert all(matches)
    return [(int(match[1]), int(match[2])) for match in matches if match]


def figure(identity: int, yaw: float, **changes: object) -> np.ndarray:
    """(160, 80, 3) of somebody who stands still on black."""
    canvas = np.zeros((160, 80, 3), np.float32)
    person = replace(make_person(0, identity), **changes)
    pose = replace(strike_pose(np.random.default_rng(0), None), stride=0.0, swing=0.0, elbows=(0.1, 0.1), head_turn=0.0)
    draw_person(canvas, View(yaw, 0.0, 150 / person.build.height, 40.0, 155.0), person, pose, 0.0, LIGHT)
    return canvas


def test_same_request_gives_the_same_bytes_for_any_number_of_workers(drawn: Path, tmp_path: Path) -> None:
    assert contents(draw_people(tmp_path / "two", **REQUEST, n_jobs=2)) == contents(drawn)


def test_a_relative_folder_is_of_the_working_directory_of_the_call(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worker processes outlive a call; a notebook may change its directory in between."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert contents(draw_people(Path("people"), **REQUEST, n_jobs=2)) == contents(drawn)


def test_another_seed_gives_other_pictures(drawn: Path, tmp_path: Path) -> None:
    other = contents(draw_people(tmp_path / "other", **{**REQUEST, "seed": 4}, n_jobs=1))
    pictures = {data for name, data in contents(drawn).items() if name.endswith(".jpg")}
    assert not pictures & {data for name, data in other.items() if name.endswith(".jpg")}


def test_more_people_leave_the_pictures_of_the_first_as_they_are(drawn: Path, tmp_path: Path) -> None:
    more = contents(draw_people(tmp_path / "more", **{**REQUEST, "ids": 16}, n_jobs=1))
    few = {name: data for name, data in contents(drawn).items() if re.search(r"/00(0[1-9]|1[0-2])_", name)}
    assert len(few) > 100
    assert {name: more[name] for name in few} == few


def test_every_level_is_another_picture(tmp_path: Path) -> None:
    entry = next(entry for entry in plan_entries(12, 0) if entry.folder == TRAIN)
    (tmp_path / TRAIN).mkdir()
    pictures = set()
    for level in ("easy", "normal", "hard"):
        world.draw_entries(tmp_path, [entry], 0, (48, 24), level)
        pictures.add((tmp_path / TRAIN / entry.name).read_bytes())
    assert len(pictures) == 3


def test_pictures_decode_to_the_size_asked_for(drawn: Path) -> None:
    for path in drawn.rglob("*.jpg"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (24, 48))
            assert np.asarray(image).std() > 4


def test_identities_of_train_test_and_unlabelled_are_disjoint(drawn: Path) -> None:
    train, query, gallery = ({pid for pid, _ in named(drawn / part)} for part in (TRAIN, QUERY, GALLERY))
    with (drawn / world.TRUTH).open() as file:
        nameless = {int(row["pid"]) for row in csv.DictReader(file)}
    assert gallery - {0, -1} == query
    assert len(query) == 6 and len(train) == 6 + 2 and len(nameless) == 3
    assert not train & gallery and not nameless & (train | gallery)
    groups = [{(pid - 1) // GROUP for pid in pids if 1 <= pid <= 12} for pids in (train, query)]
    assert not groups[0] & groups[1], "people in one outfit must be on one side"


def test_every_query_has_a_match_under_another_camera(drawn: Path) -> None:
    gallery = set(named(drawn / GALLERY))
    for pid, camera in named(drawn / QUERY):
        assert {other for found, other in gallery if found == pid} - {camera}


def test_counts_a_person(drawn: Path) -> None:
    train = Counter(pid for pid, _ in named(drawn / TRAIN))
    query, gallery = (Counter(pid for pid, _ in named(drawn / part)) for part in (QUERY, GALLERY))
    assert sorted(train.values())[:2] == [1, 1]
    assert all(5 <= train[pid] <= 24 for pid in range(1, 13) if pid in train)
    assert all(2 <= query[pid] <= 4 and 8 <= gallery[pid] <= 10 for pid in query)
    assert (gallery[0], gallery[-1]) == (9, 3)
    assert max(Counter(named(drawn / QUERY)).values()) == 1


def test_unlabelled_names_tell_no_identity_and_the_table_tells_it(drawn: Path) -> None:
    names = sorted(path.name for path in (drawn / NAMELESS).iterdir())
    with (drawn / world.TRUTH).open() as file:
        truth = {row["name"]: int(row["pid"]) for row in csv.DictReader(file)}
    assert sorted(truth) == names
    assert all(re.fullmatch(r"u\d{6}_c[1-6]\.jpg", name) for name in names)
    pids = [truth[name] for name in names]
    assert pids != sorted(pids), "in the order of names, people must not come one after another"


@settings(max_examples=20, deadline=None)
@given(ids=st.integers(12, 150), seed=st.integers(0, 2**31))
def test_no_name_is_given_twice_and_no_picture_is_taken_twice(ids: int, seed: int) -> None:
    entries = plan_entries(ids, seed)
    assert len({(entry.folder, entry.name) for entry in entries}) == len(entries)
    assert len({(entry.shot.identity, entry.shot.index) for entry in entries}) == len(entries)


def test_a_group_shares_its_outfit_and_differs_in_details() -> None:
    for group in range(8):
        people = [make_person(0, GROUP * group + member) for member in range(GROUP)]
        assert len({person.outfit for person in people}) == 1
        for detail in ("build", "hair_style", "bag"):
            assert len({getattr(person, detail) for person in people}) == GROUP, detail
    assert len({make_person(0, GROUP * group).outfit for group in range(8)}) == 8


def test_people_in_one_outfit_differ_in_pixels() -> None:
    for yaw in (0.0, np.pi / 2, np.pi):
        looks = [figure(identity, yaw) for identity in range(GROUP)]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert (np.abs(looks[first] - looks[second]).max(axis=2) > 0.1).mean() > 0.02


def test_the_viewpoint_shows_what_is_there() -> None:
    green = (0.0, 1.0, 0.0)
    seen = {}
    for name, yaw in (("front", 0.0), ("side", np.pi / 2), ("back", np.pi)):
        look = figure(0, yaw, bag="backpack", bag_colour=green, logo_kind="chest", logo=(1.0, 0.0, 1.0))
        bag = (look[..., 1] > 0.4) & (look[..., 0] < 0.05) & (look[..., 2] < 0.05)
        logo = (look[..., 0] > 0.5) & (look[..., 1] < 0.05) & (look[..., 2] > 0.5)
        seen[name] = (int(bag.sum()), int(logo.sum()))
    assert seen["back"][0] > 1.3 * seen["side"][0] > 1.3 * seen["front"][0] > 0
    assert seen["front"][1] > 5 and seen["back"][1] == 0


def test_projection_against_rotation_matrices() -> None:
    yaw, pitch, point = 0.7, 0.3, np.array([0.2, 1.1, -0.4])
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    right, up, _ = tilt @ turn @ point
    view = View(yaw, pitch, 100.0, 10.0, 200.0)
    assert project(view, tuple(point)) == pytest.approx((10 + 100 * right, 200 - 100 * up))
    assert nearness(view, tuple(point)) == pytest.approx((turn @ point)[2])


def test_angles_around_a_turned_body() -> None:
    u = np.array([[-1.0, 0.0, 1.0]], np.float32)
    assert around(u, 0.0)[0] == pytest.approx([-np.pi / 2, 0, np.pi / 2])
    assert np.abs(around(u, np.pi)[0]) == pytest.approx([np.pi / 2, np.pi, np.pi / 2])


def test_a_cut_tube_covers_its_rectangle_and_a_round_one_its_discs() -> None:
    cut, bulging = np.zeros((60, 60, 3), np.float32), np.zeros((60, 60, 3), np.float32)
    draw_tube(cut, (30, 15), (30, 45), (8, 8), (1, 1, 1), replace(LIGHT, ambient=1.0), (False, False))
    draw_tube(bulging, (30, 15), (30, 45), (8, 8), (1, 1, 1), LIGHT)
    assert (cut[..., 0] > 0.3).sum() == pytest.approx(30 * 16, rel=0.03)
    assert (bulging[..., 0] > 0.3).sum() == pytest.approx(30 * 16 + np.pi * 64, rel=0.03)


def test_a_tube_outside_the_canvas_leaves_it_alone() -> None:
    canvas = np.full((10, 10, 3), 0.5, np.float32)
    draw_tube(canvas, (-40, 5), (-30, 5), (3, 3), (1, 0, 0), LIGHT)
    assert (canvas == 0.5).all()


def test_framings_show_a_person_a_part_and_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, plate = make_plates(0, (48, 24), "easy")[1]
    level = replace(world.levels()["easy"], occluded=0.0, crowded=0.0, loose=0.0)
    views: list[View] = []
    monkeypatch.setattr(picture, "draw_person", lambda _canvas, view, *_: views.append(view))
    for framing in picture.FRAMINGS:
        take_picture(Shot(0, 0, 2, framing), 0, (48, 24), camera, plate, level)
    whole, part = views
    height = make_person(0, 0).build.height
    assert 0.85 < whole.scale * height / 96 < 1.0, "a whole person fills the picture of 2 x 48 canvas pixels"
    assert part.scale * height > 1.05 * 96 or not 0 < part.y < 96, "of a part some is outside"


def test_the_same_request_keeps_the_folder(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "_write", lambda *_: pytest.fail("drawn again"))
    assert draw_people(drawn, **REQUEST) == drawn


def test_another_request_for_the_folder_is_an_error_and_leaves_it(drawn: Path) -> None:
    before = contents(drawn)
    with pytest.raises(DrawnFolderError, match=r"seed 3, not 9.*choose another folder or remove it"):
        draw_people(drawn, **{**REQUEST, "seed": 9})
    assert contents(drawn) == before


@pytest.mark.parametrize("manifest", [None, "{", "[]"])
def test_a_folder_of_something_else_is_an_error_and_leaves_it(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (tmp_path / world.MANIFEST).write_text(manifest)
    with pytest.raises(DrawnFolderError, match="is not a drawn data set"):
        draw_people(tmp_path, **REQUEST)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_folder_that_lost_a_picture_is_an_error(tmp_path: Path) -> None:
    folder = draw_people(tmp_path / "people", **REQUEST, n_jobs=1)
    total = json.loads((folder / world.MANIFEST).read_text())["images"]
    next((folder / TRAIN).iterdir()).unlink()
    with pytest.raises(DrawnFolderError, match=f"holds {total - 1} of its {total} images"):
        draw_people(folder, **REQUEST)


def test_an_empty_folder_and_a_killed_runs_leftovers_are_no_hindrance(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "people").mkdir()
    (tmp_path / ".people.drawing" / TRAIN).mkdir(parents=True)
    (tmp_path / ".people.drawing" / TRAIN / "0099_c1s1_000000_01.jpg").write_bytes(b"half")
    assert contents(draw_people(tmp_path / "people", **REQUEST, n_jobs=1)) == contents(drawn)
    assert not (tmp_path / ".people.drawing").exists()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world, "take_picture", full)
    with pytest.raises(DrawnFolderError, match=r"cannot be written \(No space left on device\)"):
        draw_people(tmp_path / "people", **REQUEST, n_jobs=1)
    assert not (tmp_path / "people").exists() and not (tmp_path / ".people.drawing").exists()


def test_the_command_from_end_to_end(tmp_path: Path) -> None:
    out, sheet = tmp_path / "people", tmp_path / "sheet.png"
    command = [sys.executable, "-m", "models.data.drawn", "--out", str(out), "--ids", "12", "--size", "48x24"]
    done = subprocess.run([*command, "--sheet", str(sheet)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == str(out)
    by_pid = defaultdict(set)
    for pid, camera in named(out / TRAIN):
        by_pid[pid].add(camera)
    assert any(len(seen) == 6 for seen in by_pid.values())
    with Image.open(sheet) as image:
        assert image.height > 2 * 48 and image.width > 6 * 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--ids", "3"], "3 people; must be 12 to 8,000"),
        (["--size", "4x4"], "size 4x4 .* is out of bounds"),
        (["--level", "brutal"], "unknown level 'brutal'; there are: easy, normal, hard"),
        (["--out", "FILE/people"], "cannot be written"),
        (["--out", "FILE"], "exists and is not a drawn data set"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (tmp_path / "file").write_text("")
    options = [option.replace("FILE", str(tmp_path / "file")) for option in options]
    assert main(["--out", str(tmp_path / "people"), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert re.search(said, printed.err)
    assert not (tmp_path / "people").exists()


@pytest.mark.parametrize("options", [["--size", "64"], ["--ids", "many"], ["--seed", "one"], []])
def test_options_that_cannot_be_read_are_status_2(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*options, "--out", "unused"] if options else [])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_sheet_that_cannot_be_written_is_status_2(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    request = ["--out", str(drawn), "--ids", "12", "--seed", "3", "--size", "48x24"]
    assert main([*request, "--sheet", str(tmp_path / "file" / "sheet.png")]) == 2
    assert "sheet.png: cannot be written" in capsys.readouterr().err


def test_help_starts_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m models.data.drawn --out people --ids 80 --seed 0")
