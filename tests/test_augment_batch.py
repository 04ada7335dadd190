"""Every augmentation for a batch against itself for one image: by table and device, and whole recipes."""

import numpy as np
import pytest
import torch
from PIL import Image

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.schema import ComponentConfig
from models import registry
from models.data.augment import Seat, image_rng
from models.data.augment.batch_photometric import turned_hue
from models.data.augment.chain import make_chain
from models.data.augment.photometric import turned_hue as turned_one

SIZE = (48, 24)
LEVELS = {"colour_jitter": 1, "affine": 1, "random_shift": 1}  # of difference; of the others none
EVERY = [*((name, {}) for name in registry.AUGMENTS), ("erase", {"fill": "random"}),
         ("erase", {"fill": "data"}), ("affine", {"fill": 90}),
         ("colour_jitter", {"hue": 0.5}), ("colour_jitter", {"hue": 0}), ("pad_crop", {"pad": 40}),
         ("random_shift", {"keep": 1, "least": 1}), ("cutout", {"size": [1, 1]})]  # fmt: skip


def pictures(n=60, seed=0):
    """Smooth ones, and of every third nothing but noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 12, 6, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(x).resize(SIZE[::-1], Image.Resampling.BICUBIC)) for x in small])
    images[::3] = rng.integers(0, 256, images[::3].shape, dtype=np.uint8)
    return images


def make(name, options, images):
    named = ComponentConfig(name=name, **options)
    return registry.make(registry.AUGMENTS, "augmentation", named, images=images, seed=5)


def order_of(images):
    """An epoch of 200 places, in which pool and batch have room."""
    return np.random.default_rng(2).integers(0, len(images), 200)


def one_by_one(images, augments, seed, epoch, places):
    seen = []
    for image, place in zip(images, places, strict=True):
        rng = image_rng(seed, epoch, place)
        for change in augments:
            image = change(image, rng, Seat(epoch, place, order_of(images)))
        seen.append(image)
    return np.stack(seen)


def as_batch(images, augments, seed, epoch, places, device="cpu"):
    """The canvases hold other noise before, as those that are used again do."""
    chain, dirt = make_chain(augments, images.shape[1:3]), np.random.default_rng(1)
    table = np.full((len(images), chain.width), np.nan)
    noise = [dirt.integers(0, 256, images.shape, dtype=np.uint8) for _ in range(chain.canvases)]
    chain.draw(seed, epoch, places, order_of(images), table, noise)
    given = [torch.from_numpy(x).to(device) for x in (images, table, *noise)]
    return chain.on(torch.device(device))(given[0], given[1], given[2:]).cpu().numpy()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_batch_sees_what_one_image_after_another_does(name, options):
    images = pictures()
    augment, places = make(name, options, images), range(100, 160)
    want, got = one_by_one(images, [augment], 3, 7, places), as_batch(images, [augment], 3, 7, places)
    assert got.dtype == np.uint8 and got.shape == images.shape
    assert np.abs(got.astype(int) - want).max() <= LEVELS.get(name, 0)
    still = options in ({"keep": 1, "least": 1},)
    assert ((want != images).any((1, 2, 3)).sum() > 15) is not still


def test_all_of_the_strong_recipe_one_after_another():
    """A level after the colours and one after each resampling, which a later one may spread, no more."""
    images = pictures()
    strong = load_build_config(["r50"], recipe="strong").recipe
    augments = registry.make_augments(strong, images)
    want, got = (f(images, augments, 1, 2, range(100, 160)).astype(int) for f in (one_by_one, as_batch))
    assert np.abs(got - want).max() <= 3 and (got != want).mean() < 0.02


def test_a_part_of_a_batch_is_that_part():
    images, augments = pictures(), [make("erase", {"fill": "random"}, None), make("flip", {}, None)]
    whole, part = as_batch(images, augments, 0, 0, range(60)), as_batch(images[20:30], augments, 0, 0, range(20, 30))
    np.testing.assert_array_equal(whole[20:30], part)


@pytest.mark.parametrize("red", [0, 3, 100, 255])
def test_hue_by_pillows_arithmetic_to_the_bit(red):
    """All greens and blues, turned by nothing, little, and half the circle."""
    image = np.stack(np.meshgrid([red], range(256), range(256), indexing="ij"), -1)[0].astype(np.uint8)
    for steps in (0, 5, 128, 251):
        got = turned_hue(torch.from_numpy(image)[None], torch.tensor([[[steps]]], dtype=torch.uint8))[0]
        np.testing.assert_array_equal(got.numpy(), turned_one(image, steps))


def test_a_plain_function_is_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"single images only; .*recipe\.feed=loader"):
        make_chain([lambda image, rng: image], SIZE)


def test_no_augmentation_is_the_images():
    images = pictures(4)
    np.testing.assert_array_equal(as_batch(images, [], 0, 0, range(4)), images)
