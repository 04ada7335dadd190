"""Affine against torchvision and by hand; RandomShiftAugment taken apart again."""

import math

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from models.data.augment import affine, flip, image_rng, pad_crop, random_shift
from models.data.augment.geometric import affine_matrix, warp

SIZE = (48, 24)


def picture(seed: int = 0) -> np.ndarray:
    """A picture with some structure, smooth enough to be resampled."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("turn", "slant", "factor", "shift"),
    [(17, 0, 1, (0, 0)), (0, 12, 1, (0, 0)), (0, 0, 0.8, (0, 0)), (-9, 5, 1.2, (3, -2))],
)
def test_affine_is_torchvisions(turn, slant, factor, shift):
    image = picture()
    got = warp(image, affine_matrix(SIZE, turn, slant, factor, shift), fill=7)
    wanted = tv.affine(
        Image.fromarray(image),
        angle=turn,
        translate=[shift[1], shift[0]],
        scale=factor,
        shear=[slant, 0],
        interpolation=InterpolationMode.BILINEAR,
        fill=[7, 7, 7],
    )
    assert np.abs(got.astype(int) - np.asarray(wanted)).max() <= 1, "one level, where a half is rounded either way"


def test_a_whole_shift_moves_whole_pixels():
    image = picture()
    got = warp(image, affine_matrix(SIZE, 0, 0, 1, (5, 2)), fill=0)
    np.testing.assert_array_equal(got[6:, 3:], image[1:-5, 1:-2])
    assert not got[:5].any() and not got[:, :2].any()


def test_a_quarter_turn_of_a_square_is_clockwise():
    image = picture()[:24]
    got = warp(image, affine_matrix((24, 24), 90, 0, 1, (0, 0)), 0)
    assert np.abs(got.astype(int) - np.rot90(image, -1)).max() <= 1


def test_affine_of_no_extent_changes_nothing():
    still = affine(p=1, degrees=0, translate=(0, 0), scale=(1, 1), shear=0)
    np.testing.assert_array_equal(still(picture(), image_rng(0, 0, 0)), picture())


def drawn(augment, size=SIZE, n=1500):
    """(n, width): the numbers of places that drew any."""
    return np.array([augment.draw(image_rng(0, 0, i), size).numbers for i in range(n)], float)


def check_within(values, low, high):
    """All between the bounds, and some as near to either as a 50th of their distance."""
    edge = (high - low) / 50
    assert low <= values.min() <= low + edge and high - edge <= values.max() <= high


@pytest.mark.parametrize(("translate", "down", "right"), [((0.25, 0), 12, 0), ((0, 0.5), 0, 12), ((0.125, 0.5), 6, 12)])
def test_affine_shifts_by_a_share_of_the_height_down_and_of_the_width_to_the_right(translate, down, right):
    """Of an image of 48x24; the numbers say where a pixel comes from: x - right, y - down."""
    numbers = drawn(affine(p=1, degrees=0, translate=translate, scale=(1, 1), shear=0))
    np.testing.assert_array_equal(numbers[:, [0, 1, 3, 4]], np.tile([1, 0, 0, 1], (len(numbers), 1)))
    check_within(-numbers[:, 2], -right, right)
    check_within(-numbers[:, 5], -down, down)


def test_affine_turns_scales_and_slants_to_either_side_within_its_bounds():
    """Forward: factor times a turn, times a slant along the width; the middle of the image stays."""
    numbers = drawn(affine(p=1, degrees=20, translate=(0, 0), scale=(0.8, 1.5), shear=10)).reshape(-1, 2, 3)
    forward = np.linalg.inv(numbers[:, :, :2])
    check_within(np.degrees(np.arctan2(forward[:, 1, 0], forward[:, 0, 0])), -20, 20)
    check_within(np.linalg.det(forward) ** 0.5, 0.8, 1.5)
    slant = (forward[:, :, 0] * forward[:, :, 1]).sum(axis=1) / (forward[:, :, 0] ** 2).sum(axis=1)
    check_within(-np.degrees(np.arctan(slant)), -10, 10)
    np.testing.assert_allclose(numbers @ [12, 24, 1], np.tile([12, 24], (len(numbers), 1)), atol=1e-9)


def test_a_crop_of_the_padded_image_lies_at_every_offset_and_no_other():
    """Each of 5 x 5 offsets of a pad of 2, some in 4 % of the draws: what is seen is the image moved, and black."""
    image, crop = np.arange(1, 25, dtype=np.uint8).reshape(6, 4, 1).repeat(3, 2), pad_crop(pad=2)
    seen = {crop(image, image_rng(0, 0, i)).tobytes() for i in range(600)}
    wanted = set()
    for down in range(-2, 3):
        for right in range(-2, 3):
            moved = np.zeros_like(image)
            for y in range(6):
                for x in range(4):
                    if 0 <= y - down < 6 and 0 <= x - right < 4:
                        moved[y, x] = image[y - down, x - right]
            wanted.add(moved.tobytes())
    assert len(wanted) == 25 and seen == wanted


def test_a_mirrored_image_has_its_left_on_the_right():
    image = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    got = flip(p=1)(image, image_rng(0, 0, 0))
    assert got.tolist() == [[image[y, 2 - x].tolist() for x in range(3)] for y in range(2)]


@pytest.mark.parametrize("make", [affine, random_shift, flip])
def test_p_is_a_probability(make):
    image, often, never = picture(), make(p=0.3), make(p=0)
    changed = [(often(image, image_rng(0, 0, i)) != image).any() for i in range(600)]
    assert 0.22 < np.mean(changed) < 0.38
    assert never(image, image_rng(0, 0, 0)) is image


def boxes(keep: float, least: float, n: int = 300) -> list[tuple[int, int, int, int]]:
    """Where the cut lay (top, left, height, width), of images that have no pixel of the canvas's grey."""
    image = np.full((*SIZE, 3), 10, np.uint8)
    found = []
    for i in range(n):
        seen = random_shift(p=1, keep=keep, least=least)(image, image_rng(0, 0, i))
        assert seen.shape == image.shape and seen.dtype == np.uint8
        rows, columns = np.flatnonzero((seen != 127).any((1, 2))), np.flatnonzero((seen != 127).any((0, 2)))
        top, left, h, w = rows[0], columns[0], len(rows), len(columns)
        assert (seen[top : top + h, left : left + w] == 10).all(), "the cut is one whole rectangle"
        found.append((int(top), int(left), h, w))
    return found


def test_random_shift_lays_one_rectangle_on_grey():
    tops, lefts, heights, widths = zip(*boxes(keep=0.7, least=0.5), strict=True)
    assert min(heights) == 24 and max(heights) == 48
    assert min(widths) == 12 and max(widths) == 24
    assert min(tops) == 0 and min(lefts) == 0 and len(set(tops)) > 10 and len(set(lefts)) > 5
    numbers = drawn(random_shift(p=1, keep=0.7, least=0.5))
    start, rows, top, left, h, w = numbers.T
    assert (rows.min(), rows.max(), h.min(), h.max(), w.min(), w.max()) == (34, 48, 24, 48, 12, 24)
    for first, size, whole in ((start, rows, 48), (top, h, 48), (left, w, 24)):
        assert set(first[size == whole]) == {0} and (first + size).max() == whole
        for less in (1, 2):
            assert set(first[size == whole - less]) == set(range(less + 1)), "every place, the last one too"


def test_random_shift_cuts_along_the_height_only():
    """Every row is one grey: what the cut shows is a run of rows, and at least 0.7 of them."""
    image = np.repeat(np.linspace(0, 100, SIZE[0]).astype(np.uint8)[:, None, None], SIZE[1], 1).repeat(3, 2)
    shares = []
    for i in range(300):
        seen = random_shift(p=1, keep=0.7, least=1)(image, image_rng(0, 0, i))
        assert (seen == seen[:, :1]).all(), "not cut or shifted along the width"
        shown = seen[:, 0, 0].astype(float)
        assert (np.diff(shown) >= 0).all()
        shares.append((shown[-1] - shown[0]) / 100)
    assert 0.66 < min(shares) < 0.75 and max(shares) == pytest.approx(1, abs=0.01)


def test_random_shift_that_keeps_all_changes_nothing():
    np.testing.assert_array_equal(random_shift(p=1, keep=1, least=1)(picture(), image_rng(0, 0, 0)), picture())


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (affine, {"scale": (1.1, 0.9)}, "scale"),
        (affine, {"translate": (0.1, 1.2)}, "translate"),
        (affine, {"degrees": -3}, "degrees -3"),
        (affine, {"p": 2}, "p 2"),
        (random_shift, {"keep": 0}, "keep 0"),
        (random_shift, {"least": 1.5}, "least 1.5"),
        (random_shift, {"p": math.nan}, "p nan"),
    ],
)
def test_refused(make, options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)
