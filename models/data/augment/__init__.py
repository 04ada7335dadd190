"""Augmentations: functions of an image and a random generator.

The generator is seeded by (seed, epoch, index in the epoch), so any number of loader workers gives the same pixels.
Images are (H, W, 3) uint8 and keep their size.
models/registry.py lists the augmentations.
`python -m models.data.augment --show NAME --out sheet.png` shows examples of one.
"""

from models.data.augment.base import MEAN, STD, Augment, Image, Seat, image_rng
from models.data.augment.geometric import affine, flip, pad_crop, random_shift
from models.data.augment.occlusion import cutout, random_erasing, random_patch
from models.data.augment.photometric import color_jitter

__all__ = [
    "MEAN",
    "STD",
    "Augment",
    "Image",
    "Seat",
    "affine",
    "color_jitter",
    "cutout",
    "flip",
    "image_rng",
    "pad_crop",
    "random_erasing",
    "random_patch",
    "random_shift",
]
