"""Cutout and RandomPatch: what is covered, by what, and that neither workers nor order decide."""

from collections import Counter

import numpy as np
import pytest
import torch

from configs.load import load_build_config
from models.data.augment import Seat, cutout, image_rng, occlusion, random_erasing, random_patch
from models.data.augment.occlusion import random_box
from tests import tiny

SIZE = (40, 20)


def numbered(n: int) -> np.ndarray:
    """Images of one colour each: every pixel of image i is (i, 200 - i, 7)."""
    return np.stack([np.full((*SIZE, 3), (i, 200 - i, 7), np.uint8) for i in range(n)])


def covered(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """The box that changed: top, left, height, width; it must be whole."""
    changed = (before != after).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert (
        changed[np.ix_(rows, columns)].all() and len(rows) == np.ptp(rows) + 1 and len(columns) == np.ptp(columns) + 1
    )
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


def test_cutout_sets_a_rectangle_of_one_size_to_0():
    image = np.full((*SIZE, 3), 9, np.uint8)
    places = set()
    for i in range(400):
        seen = cutout(p=1, size=(0.3, 0.5))(image, image_rng(0, 0, i))
        top, left, h, w = covered(image, seen)
        assert (h, w) == (12, 10) and not seen[top : top + h, left : left + w].any()
        places.add((top, left))
    tops, lefts = zip(*places, strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 28, 0, 10)
    assert (image == 9).all(), "the image that came in stays"


def test_p_is_a_probability():
    image, often = np.full((*SIZE, 3), 9, np.uint8), cutout(p=0.3)
    assert 0.22 < np.mean([(often(image, image_rng(0, 0, i)) != 9).any() for i in range(600)]) < 0.38


def epoch_of(paste, images, *, order=None, epoch=0, seed=0, blank=True):
    """What every place of an epoch sees: of images that are white, or of its own."""
    order = np.arange(len(images)) if order is None else order
    white = np.full((*SIZE, 3), 255, np.uint8)
    return [
        paste(white if blank else images[row], image_rng(seed, epoch, place), Seat(epoch, place, order))
        for place, row in enumerate(order)
    ]


def sources(seen) -> list[int | None]:
    """Of each place the image that its patch shows; None where nothing was pasted."""
    return [int(s[(s < 255).any(2)][0, 0]) if (s < 255).any() else None for s in seen]


def test_the_first_100_images_fill_the_pool_and_get_nothing():
    for epoch in (0, 1):
        shown = sources(epoch_of(random_patch(images=numbered(200), p=1), numbered(200), epoch=epoch))
        assert shown[:100] == [None] * 100 and None not in shown[100:]


def test_every_later_image_gets_a_patch_of_one_that_came_before_it_in_the_epochs_order():
    images, order = numbered(200), np.random.default_rng(5).permutation(200)
    place_of, ages, late = np.argsort(order), Counter(), 0
    for epoch in range(30):
        shown = sources(epoch_of(random_patch(images=images, p=1), images, order=order, epoch=epoch))
        for place in range(100, 200):
            ages[place - place_of[shown[place]]] += 1
            late += place_of[shown[place]] >= 100
    assert min(ages) == 1, "never its own, never one that comes later"
    assert max(ages) > 180 and late > 300, "from the first one on; those after the first 100 are in the pool too"


def test_a_patch_is_at_most_so_many_images_old():
    images = numbered(200)
    ages = Counter()
    for epoch in range(20):
        shown = sources(epoch_of(random_patch(images=images, p=1, back=100), images, epoch=epoch))
        ages.update(place - source for place, source in enumerate(shown) if source is not None)
    assert (min(ages), max(ages)) == (1, 100)


def test_an_image_puts_one_patch_into_the_pool_of_an_epoch_and_two_epochs_have_two_pools():
    images = np.random.default_rng(0).integers(0, 250, (200, *SIZE, 3), dtype=np.uint8)
    images[:, :, :, 0] = np.arange(200)[:, None, None]
    paste, patches = random_patch(images=images, p=1, pool=10, back=10), [{}, {}]
    for epoch in (0, 1):
        for seen in epoch_of(paste, images, epoch=epoch):
            if (seen < 255).any():
                top, left, h, w = covered(np.full_like(seen, 255), seen)
                patch = seen[top : top + h, left : left + w]
                kept = patches[epoch].setdefault(int(patch[0, 0, 0]), patch)
                assert np.array_equal(kept, patch), "whoever gets it sees the same"
    both = patches[0].keys() & patches[1].keys()
    same = sum(np.array_equal(patches[0][i], patches[1][i]) for i in both)
    assert len(both) > 50 and same < 3


def test_a_patch_is_one_piece_of_its_image_within_the_bounds_and_anywhere():
    images, places = np.random.default_rng(0).integers(0, 250, (200, *SIZE, 3), dtype=np.uint8), set()
    images[:, :, :, 0] = np.arange(200)[:, None, None]
    paste, white = (
        random_patch(images=images, p=1, area=(0.05, 0.3), aspect=(0.5, 3)),
        np.full((*SIZE, 3), 255, np.uint8),
    )
    for epoch in range(30):
        for seen in epoch_of(paste, images, epoch=epoch)[100:]:
            top, left, h, w = covered(white, seen)
            patch, source = seen[top : top + h, left : left + w], images[seen[top, left, 0]]
            windows = np.lib.stride_tricks.sliding_window_view(source, (h, w, 3))[:, :, 0]
            assert (windows == patch).all((2, 3, 4)).any()
            assert 0.04 <= h * w / 800 <= 0.32 and 0.4 <= h / w <= 3.5
            places.add((top, left, top + h, left + w))
    tops, lefts, bottoms, rights = np.array(list(places)).T
    assert (tops.min(), lefts.min(), bottoms.max(), rights.max()) == (0, 0, *SIZE), "to the last row and column"


def test_some_probability():
    shown = [sources(epoch_of(random_patch(images=numbered(200), p=0.3), numbered(200), epoch=e)) for e in range(8)]
    assert 0.25 < np.mean([one is not None for epoch in shown for one in epoch[100:]]) < 0.35


def test_without_its_seat_an_image_cannot_know_what_came_before():
    with pytest.raises(ValueError, match="needs the image's seat"):
        random_patch(images=numbered(3), p=1)(numbered(1)[0], image_rng(0, 0, 0))


def boxes(area, aspect, n=3000, size=SIZE):
    """(n, 4): top, left, height, width of the boxes that were drawn."""
    found = [random_box(np.random.default_rng(i), size, area, aspect, 100) for i in range(n)]
    return np.array([box for box in found if box is not None])


def test_a_box_is_smaller_than_the_image_in_both_directions():
    """As the paper has it: an area and an aspect that only the whole image, or its whole width or height, has."""
    for area, aspect in ((1, 2), (0.5, 1), (0.5, 4)):
        assert len(boxes((area, area), (aspect, aspect), n=3)) == 0
    _, _, h, w = boxes((0.3, 1), (0.5, 4)).T
    assert (h.max(), w.max()) == (39, 19)


def test_a_box_lies_anywhere_and_has_the_area_and_aspect_asked_for():
    top, left, h, w = boxes((0.6, 0.9), (1.5, 2.5)).T
    for first, size, whole in ((top, h, 40), (left, w, 20)):
        assert first.min() == 0 and (first + size).max() == whole
        for less in (1, 2):
            assert set(first[size == whole - less]) == set(range(less + 1)), "every place, the last one too"
    share, ratio = h * w / 800, h / w
    assert 0.57 < share.min() < 0.63 and 0.85 < share.max() < 0.93
    wide, narrow = boxes((0.1, 0.1), (0.25, 4)).T[2:], boxes((0.04, 0.04), (1, 1)).T[2:]
    assert (wide[0] / wide[1]).min() < 0.3 and (wide[0] / wide[1]).max() > 3.3 and 1.4 < ratio.min() < ratio.max() < 2.7
    assert set(narrow.ravel()) == {6}, "the root of 32 pixels, rounded"


def test_aspects_are_drawn_evenly_and_so_are_areas():
    """Half of the boxes are flatter than the mean of the bounds, and half smaller."""
    _, _, h, w = boxes((0.02, 0.1), (0.5, 3.5), n=2000, size=(400, 400)).T
    assert abs((h / w < 2).mean() - 0.5) < 0.04 and abs((h * w / 160_000 < 0.06).mean() - 0.5) < 0.04


def test_erasing_is_with_noise_or_with_imagenets_mean():
    image = np.full((*SIZE, 3), 9, np.uint8)
    mean, noise = (random_erasing(p=1, area=(0.3, 0.3), aspect=(2, 2), fill=fill) for fill in ("mean", "random"))
    top, left, h, w = covered(image, mean(image, image_rng(0, 0, 0)))
    assert set(map(tuple, mean(image, image_rng(0, 0, 0))[top : top + h, left : left + w].reshape(-1, 3))) == {
        (124, 116, 104)
    }
    seen = noise(image, image_rng(0, 0, 0))[top : top + h, left : left + w].reshape(-1, 3)
    assert len(np.unique(seen)) > 150 and abs(seen.mean() - 127.5) < 10 and (seen[:, 0] != seen[:, 1]).any()
    drawn = np.stack([noise.draw(image_rng(0, 0, i), SIZE).noise for i in range(20)])
    assert np.array_equal(np.unique(drawn), np.arange(256))
    often = [(random_erasing(p=0.3)(image, image_rng(0, 0, i)) != 9).any() for i in range(600)]
    assert 0.22 < np.mean(often) < 0.38


def test_erasing_by_the_data_sets_own_mean(monkeypatch):
    """Three images and blocks of two: the mean of all pixels, and not of blocks' means."""
    monkeypatch.setattr(occlusion, "BLOCK", 2)
    images = np.stack([np.full((*SIZE, 3), pixel, np.uint8) for pixel in ((10, 0, 255), (20, 0, 255), (60, 3, 255))])
    seen = random_erasing(images=images, p=1, area=(0.3, 0.3), aspect=(2, 2), fill="data")(
        images[0], image_rng(0, 0, 0)
    )
    top, left, h, w = covered(images[0], seen)
    assert set(map(tuple, seen[top : top + h, left : left + w, :2].reshape(-1, 2).tolist())) == {(30, 1)}
    with pytest.raises(ValueError, match="needs the training images"):
        random_erasing(fill="data")


def test_erasing_is_by_the_mean_wherever_nothing_else_is_said():
    image = np.full((*SIZE, 3), 9, np.uint8)
    assert set(random_erasing(p=1)(image, image_rng(0, 0, 0)).reshape(-1, 3)[:, 0].tolist()) == {9, 124}
    assert load_build_config(["r50"], competition="market1501").recipe.augment[-1].options["fill"] == "mean"


def test_the_pool_depends_on_data_seed_and_epoch_alone():
    images = np.random.default_rng(0).integers(0, 250, (30, *SIZE, 3), dtype=np.uint8)

    def shown(seed: int, epoch: int = 0) -> bytes:
        paste = random_patch(images=images, seed=seed, p=1)
        return np.stack(epoch_of(paste, images, epoch=epoch)).tobytes()

    assert shown(0) == shown(0) != shown(1) and shown(0) != shown(0, epoch=1)


def test_of_a_data_set_of_fewer_than_200_images_half_fill_the_pool():
    shown = sources(epoch_of(random_patch(images=numbered(31), p=1), numbered(31)))
    assert shown[:15] == [None] * 15 and None not in shown[15:]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_pixels_are_the_same_for_any_number_of_workers():
    images = np.random.default_rng(0).integers(0, 256, (24, *SIZE, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(6), 4)

    def epoch(workers: int) -> torch.Tensor:
        changes = [random_patch(images=images, seed=5), cutout()]
        batches = tiny.epoch_loader(
            images, labels, changes, identities=2, per_identity=4, seed=5, epoch=3, workers=workers
        )
        return torch.cat([batch for batch, _ in batches])

    alone = epoch(0)
    assert torch.equal(alone, epoch(1)) and torch.equal(alone, epoch(3))


@pytest.mark.parametrize("bounds", [(0.5, 1.1), (0.5, 3.9), (0.02, 0.3), (0.9, 2.0)])
def test_what_can_fit_is_not_refused(bounds):
    """Of an image twice as high as wide: half of it at aspect 1 would be wider than the image, at 4 higher."""
    share, aspect = bounds
    blank = np.full((64, 32, 3), 255, np.uint8)
    cover = random_erasing(images=blank[None], p=1, area=(share, share), aspect=(aspect, aspect), fill="mean")
    assert (cover(blank, image_rng(0, 0, 0)) < 255).all(axis=2).mean() == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (cutout, {"size": (1.2, 0.5)}, "above 0 and at most 1"),
        (cutout, {"size": (0, 0.5)}, "above 0 and at most 1"),
        (random_patch, {"images": numbered(2), "area": (0.97, 0.99), "aspect": (8, 10)}, "no patch of area"),
        (random_patch, {"images": numbered(2), "area": (0.97, 0.99), "attempts": 1}, "in 1 attempts; lower the area"),
        (random_patch, {"images": numbered(2), "area": (0.5, 0.1)}, "area"),
        (random_erasing, {"images": numbered(2), "area": (0.5, 0.6), "aspect": (0.1, 0.9)}, "aspect towards 2"),
        (random_erasing, {"images": numbered(2), "area": (0.5, 0.6), "aspect": (4.1, 9)}, "no rectangle of area"),
        (random_erasing, {"images": numbered(2), "area": (1, 1), "aspect": (2, 2)}, "no rectangle of area"),
        (random_patch, {"images": numbered(2), "pool": 0}, "pool 0"),
        (random_patch, {"images": numbered(2), "pool": 100, "back": 99}, "pool 100, back 99; pool must be 1 or more"),
    ],
)
def test_refused(make, options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)
