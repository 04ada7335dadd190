"""Colour jitter against torchvision, one change at a time, and against its own definition."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from models.data.augment import color_jitter, image_rng
from models.data.augment.photometric import relit, turned_hue

IMAGE = np.random.default_rng(1).integers(0, 256, (20, 12, 3), dtype=np.uint8)
TENSOR = torch.from_numpy(IMAGE).permute(2, 0, 1)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3])
@pytest.mark.parametrize(
    ("place", "second"), [(0, tv.adjust_brightness), (1, tv.adjust_contrast), (2, tv.adjust_saturation)]
)
def test_each_is_torchvisions(place, second, factor):
    factors = [1.0, 1.0, 1.0]
    factors[place] = factor
    got = relit(IMAGE, *factors).astype(int)
    wanted = second(TENSOR, factor).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(got - wanted).max() <= 1, "one level, for torchvision cuts off where this rounds"
    assert np.abs(got - IMAGE).max() > 5


@pytest.mark.parametrize("share", [-0.3, 0.05, 0.5])
def test_hue_is_torchvisions(share):
    got = turned_hue(IMAGE, round(share * 256) % 256).astype(int)
    wanted = np.asarray(tv.adjust_hue(Image.fromarray(IMAGE), share)).astype(int)
    assert np.abs(got - wanted).max() <= 12, "steps of 1/256 here and 1/255 there: up to two steps, of 6 levels each"
    assert np.abs(got - IMAGE).max() > 12


def test_hue_turns_red_to_green():
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    assert np.abs(turned_hue(red, 85).astype(int) - (0, 255, 0)).max() <= 4


def test_grey_has_no_colour_to_change():
    grey = np.repeat(IMAGE[:, :, :1], 3, 2)
    np.testing.assert_array_equal(relit(grey, 1, 1, 0.3), grey)
    np.testing.assert_array_equal(turned_hue(grey, 102), grey)


def test_nothing_of_each_changes_nothing():
    still = color_jitter(p=1, brightness=0, contrast=0, saturation=0, hue=0)
    np.testing.assert_array_equal(still(IMAGE, image_rng(0, 0, 0)), IMAGE)


def test_brightness_within_its_bounds_and_p_a_probability():
    flat = np.full((4, 4, 3), 100, np.uint8)
    often = color_jitter(p=0.5, brightness=0.2, contrast=0, saturation=0, hue=0)
    seen = np.array([often(flat, image_rng(0, 0, i))[0, 0, 0] for i in range(800)])
    assert 80 <= seen.min() <= 82 and 118 <= seen.max() <= 120
    assert 0.43 < (seen != 100).mean() < 0.57


@pytest.mark.parametrize("options", [{"hue": 0.6}, {"brightness": -0.1}, {"p": 1.1}])
def test_refused(options):
    with pytest.raises(ValueError, match="must be from 0 to"):
        color_jitter(**options)
