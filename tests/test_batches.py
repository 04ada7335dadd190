"""Packed images and batches: the same pixels from any number of workers, and what a full disk or a bad file does."""

import numpy as np
import pytest
import torch
from PIL import Image

from configs.console.progress import Progress
from configs.errors import ConfigError, DataError
from configs.schema import Named
from models import registry
from models.data import batches
from models.data.augment import Seat, image_rng
from models.data.batches import normalise, pack
from models.data.split import make_split
from tests import tiny

QUIET = Progress(quiet=True)
LABELS = np.repeat(np.arange(5), 3)
EVERY_AUGMENT = list(registry.AUGMENTS)


def pictures(n=15, size=(40, 20)):
    return np.random.default_rng(0).integers(0, 256, (n, *size, 3), dtype=np.uint8)


def changes(names, images):
    known = {"images": images, "seed": 9}
    return [registry.make(registry.AUGMENTS, "augmentation", Named(name=name), **known) for name in names]


def epoch(images, names, workers=0, seed=9, epoch=0):
    """The batches of one epoch as arrays: pixels (batches, 6, 3, H, W), labels (batches, 6)."""
    augment = changes(names, images)
    kind = {"identities": 3, "per_identity": 2, "seed": seed, "epoch": epoch, "workers": workers}
    seen = list(tiny.epoch_loader(images, LABELS, augment, **kind))
    return np.stack([x.numpy() for x, _ in seen]), np.stack([y.numpy() for _, y in seen])


# ------------------------------------------------------------------------------------- a function of seed, epoch, place


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_pixels_over_two_epochs(tmp_path, workers):
    """With every augmentation of the registry, from a memory map as in training."""
    np.save(tmp_path / "images.npy", pictures())
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    for at in (0, 1):
        alone, together = epoch(images, EVERY_AUGMENT, 0, epoch=at), epoch(images, EVERY_AUGMENT, workers, epoch=at)
        np.testing.assert_array_equal(alone[0], together[0])
        np.testing.assert_array_equal(alone[1], together[1])


@pytest.mark.parametrize("name", EVERY_AUGMENT)
def test_each_augmentation_is_a_function_of_image_seed_epoch_and_place(name):
    """Called in another order, twice, and after others: the same pixels. In another epoch or seed: others."""
    images = pictures(120)
    (change,), (fresh,) = changes([name], images), changes([name], images)
    order = np.random.default_rng(0).permutation(120)

    def seen(change, seed, epoch, place):
        return change(images[place], image_rng(seed, epoch, place), Seat(epoch, place, order)).copy()

    places = range(60, 80)  # half of the images came before, and fill RandomPatch's pool
    first = {i: seen(change, 1, 2, i) for i in places}
    for i in reversed(places):
        np.testing.assert_array_equal(seen(fresh, 1, 2, i), first[i])
        np.testing.assert_array_equal(seen(change, 1, 2, i), first[i])
    for seed, at in ((1, 3), (2, 2)):
        assert any((seen(change, seed, at, i) != first[i]).any() for i in places)


@pytest.mark.parametrize("name", EVERY_AUGMENT)
def test_each_augmentation_keeps_shape_and_type_and_its_input(name):
    images = pictures(120)
    (change,) = changes([name], images)
    images.flags.writeable = False  # as a memory map opened to read
    before = images.copy()
    for i in range(20):
        out = change(images[i], image_rng(0, 0, i), Seat(0, 60 + i, np.arange(120)))
        assert out.shape == images[i].shape and out.dtype == np.uint8
    np.testing.assert_array_equal(images, before)


def test_no_two_places_of_an_epoch_draw_the_same_numbers():
    drawn_numbers = []

    def record(image, rng):
        drawn_numbers.append(int(rng.integers(2**62)))
        return image

    loader = tiny.epoch_loader(pictures(), LABELS, [record], identities=3, per_identity=2, seed=0, epoch=0)
    assert sum(len(y) for _, y in loader) == len(drawn_numbers) == len(set(drawn_numbers)) > 6


def test_two_epochs_and_two_seeds_differ():
    images = pictures()
    first, _ = epoch(images, EVERY_AUGMENT)
    assert (epoch(images, EVERY_AUGMENT, epoch=1)[0] != first).any()
    assert (epoch(images, EVERY_AUGMENT, seed=8)[0] != first).any()


def test_one_image_twice_in_an_epoch_is_seen_twice_differently():
    """Identity 0 has one image, which fills its hand of two."""
    images, labels = pictures(5, (40, 40)), np.array([0, 1, 1, 2, 2])
    augment = changes(["erase", "pad_crop"], images)
    ((x, y),) = tiny.epoch_loader(images, labels, augment, identities=3, per_identity=2, seed=0, epoch=0)
    one, other = x[y == 0]
    assert (one != other).any()


def test_without_augmentation_an_epoch_is_the_images_with_their_labels():
    images = pictures()
    x, y = epoch(images, [])
    assert x.shape[1:] == (6, 3, 40, 20) and x.dtype == np.uint8
    for batch, labels in zip(x, y, strict=True):
        for picture, label in zip(batch, labels, strict=True):
            own = [i for i in range(15) if (images[i].transpose(2, 0, 1) == picture).all()]
            assert len(own) == 1 and LABELS[own[0]] == label


def test_workers_where_processes_cannot_be_forked(monkeypatch):
    monkeypatch.setattr(batches, "get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(ConfigError, match=r"--workers 2: .* leave it at 0"):
        epoch(pictures(), [], workers=2)
    assert len(epoch(pictures(), [])[0])


# ------------------------------------------------------------------------------------------------------------- packing


def drawn(folder, n=4):
    images = pictures(n, (10, 6))
    rows = []
    for i, image in enumerate(images):
        path = folder / f"{i}.png"
        Image.fromarray(image).save(path)
        rows.append((path.name, path, i, -1))
    return images, make_split(rows)


def test_pack_is_an_array_of_all_images_in_order(tmp_path):
    images, split = drawn(tmp_path)
    pack(split, (10, 6), tmp_path, QUIET)
    packed = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert packed.dtype == np.uint8 and not packed.flags.writeable
    np.testing.assert_array_equal(packed, images)


def test_pack_resizes(tmp_path):
    _, split = drawn(tmp_path)
    pack(split, (32, 48), tmp_path, QUIET)
    assert np.load(tmp_path / "images.npy").shape == (4, 32, 48, 3)


def test_pack_names_the_file_that_cannot_be_read(tmp_path):
    _, split = drawn(tmp_path)
    split.paths[2].write_text("no image")
    with pytest.raises(DataError, match=r"2\.png"):
        pack(split, (10, 6), tmp_path, QUIET)


def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path):
    _, split = drawn(tmp_path)
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "images.npy").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        pack(split, (200, 200), folder, QUIET)


# ------------------------------------------------------------------------------------------------ on the way to the net


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalise_is_imagenets(channels_last):
    """torchvision's weights expect (x / 255 - mean) / std, with these means and deviations of R, G, B."""
    raw = torch.from_numpy(pictures(2)).permute(0, 3, 1, 2)
    got = normalise(raw, torch.device("cpu"), channels_last=channels_last)
    for c, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        torch.testing.assert_close(got[:, c], (raw[:, c] / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
