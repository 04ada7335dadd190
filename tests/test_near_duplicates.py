"""The perceptual hash and its pairs, against SciPy's cosine transform and loops over all pairs; and on files."""

import io
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from configs.console.progress import Progress
from models.data import near_duplicates
from models.data.layouts import read_layout
from models.data.near_duplicates import FLAT, hash_files, image_hash, near_pairs


def bits_of(pixels):
    """The 63 bits, from SciPy."""
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.BILINEAR), float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()[1:]
    return low > np.median(low)


def test_bits_are_those_of_the_cosine_transform(people):
    paths = read_layout("drawn", people).train.paths[:12]
    pixels = [np.asarray(Image.open(path)) for path in paths]
    noise = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    for one in noise:
        assert image_hash(one).bit_count() == bits_of(one).sum()
        assert (image_hash(one) ^ image_hash(noise[0])).bit_count() == (bits_of(one) != bits_of(noise[0])).sum()
    hashes, bits = [image_hash(one) for one in pixels], [bits_of(one) for one in pixels]
    for i, j in combinations(range(12), 2):
        assert (hashes[i] ^ hashes[j]).bit_count() == (bits[i] != bits[j]).sum()
    assert all(hashed.bit_count() == one.sum() for hashed, one in zip(hashes, bits, strict=True))
    assert hash_files(paths, Progress(quiet=True)).tolist() == hashes


def changed(image, how):
    if how == "jpeg":
        kept = io.BytesIO()
        image.save(kept, "JPEG", quality=70)
        return Image.open(kept)
    return {
        "half": lambda: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
        "bright": lambda: ImageEnhance.Brightness(image).enhance(1.1),
    }[how]()


@pytest.mark.parametrize("how", ["jpeg", "half", "bright"])
def test_a_copy_is_near_and_another_person_is_not(people, how):
    split = read_layout("drawn", people).train
    images = [Image.open(path).convert("RGB") for path in split.paths]
    kept = [image_hash(np.asarray(image)) for image in images]
    copies = [image_hash(np.asarray(changed(image, how))) for image in images]
    found = near_pairs(np.array([*kept, *copies], np.uint64), np.repeat([0, 1], len(split)))
    n = len(split)
    right = sum(j == i + n for i, j in found.tolist())
    wrong = [(i, j - n) for i, j in found.tolist() if split.pids[i] != split.pids[j - n]]
    assert right >= 0.9 * n and not wrong


def test_flat_images_are_like_none():
    assert image_hash(np.full((40, 20, 3), 200, np.uint8)) == FLAT
    noise = np.random.default_rng(0).integers(199, 202, (40, 20, 3), dtype=np.uint8)
    assert image_hash(noise) == FLAT
    assert not len(near_pairs(np.array([FLAT, FLAT, 1 << 60, 1 << 60], np.uint64), np.array([0, 1, 2, 2])))


@given(st.lists(st.tuples(st.integers(1, 2**63 - 1), st.integers(0, 3)), max_size=12), st.integers(1, 40))
def test_pairs_are_those_of_loops(rows, at_a_time):
    rows += [(one ^ 0b1111, group + 1) for one, group in rows] + [(one ^ 0b11111, group + 1) for one, group in rows]
    groups = [group for _, group in rows]
    hashes = [one for one, _ in rows]
    want = [
        [i, j]
        for i, j in combinations(range(len(rows)), 2)
        if groups[i] != groups[j] and bin(hashes[i] ^ hashes[j]).count("1") <= 4 and hashes[i] and hashes[j]
    ]
    kept = near_duplicates.PAIRS
    near_duplicates.PAIRS = at_a_time
    try:
        found = near_pairs(np.array(hashes, np.uint64), np.array(groups, np.int64))
    finally:
        near_duplicates.PAIRS = kept
    assert found.tolist() == want
