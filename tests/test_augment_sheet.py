"""The contact sheet command: the picture it writes shows what training would see."""

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError
from models.data.augment import image_rng
from models.data.augment.__main__ import FIRST, GAP, TOP, contact_sheet, main, make_chain

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 8, 3), dtype=np.uint8)


def cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    top, left = TOP + row * (16 + GAP), GAP + column * (8 + GAP)
    return sheet[top : top + 16, left : left + 8]


def test_cells_are_what_training_sees():
    chain = make_chain("flip,erase", [], IMAGES, seed=4)
    sheet = np.asarray(contact_sheet(IMAGES, range(3), chain, columns=2, seed=4, title="x"))
    for row in range(3):
        np.testing.assert_array_equal(cell(sheet, row, 0), IMAGES[row])
        for column in (1, 2):
            rng, seen = image_rng(4, column - 1, FIRST + row), IMAGES[row]
            for change in chain:
                seen = change(seen, rng)
            np.testing.assert_array_equal(cell(sheet, row, column), seen)
            assert (seen != IMAGES[row]).any(), "p is 1"


def test_command_reads_a_folder_of_ones_own(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / folder).mkdir()
        for camera in (1, 2):
            Image.fromarray(IMAGES[camera]).save(tmp_path / folder / f"0001_c{camera}s1_000001_00.png")
    out = tmp_path / "new" / "sheet.png"
    where = ["--data", str(tmp_path), "--size", "16", "8", "--out", str(out)]
    main(["--show", "cutout", "--set", "size=[0.5, 0.5]", *where])
    sheet = np.asarray(Image.open(out))
    np.testing.assert_array_equal(cell(sheet, 0, 0), IMAGES[1])
    assert (cell(sheet, 1, 5) == 0).all(2).sum() >= 32


def test_the_seed_is_of_what_is_drawn_and_of_the_patches(tmp_path):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / folder).mkdir()
        for camera in (1, 2):
            Image.fromarray(IMAGES[camera]).save(tmp_path / folder / f"0001_c{camera}s1_000001_00.png")
    where = ["--data", str(tmp_path), "--size", "16", "8", "--out", str(tmp_path / "sheet.png")]
    main(["--show", "flip,random_patch", "--columns", "3", "--seed", "5", *where])
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    changed = []
    for patches, drawn in ((5, 5), (0, 5), (5, 0)):
        chain = make_chain("flip,random_patch", [], IMAGES[1:], seed=patches)
        wanted = np.asarray(contact_sheet(IMAGES[1:], (0, 1), chain, columns=3, seed=drawn, title=""))
        changed.append(any((cell(sheet, r, c) != cell(wanted, r, c)).any() for r in (0, 1) for c in range(4)))
    assert changed == [False, True, True]


@pytest.mark.parametrize(
    ("show", "sets", "said"),
    [
        ("blur", [], "unknown augmentation 'blur'; models/registry.py has: flip, pad_crop"),
        ("erase", ["colour=red"], "has no option 'colour'; it has: p, area"),
        ("erase", ["fill"], "must be KEY=VALUE"),
        ("random_patch", ["area=[0.99, 0.99]"], "no patch of area"),
    ],
)
def test_what_does_not_exist(show, sets, said):
    with pytest.raises(ConfigError, match=said):
        make_chain(show, sets, IMAGES, 0)
