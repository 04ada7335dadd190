"""What training sees of an image: each augmentation is a function of the image and of a random generator.

The generator of an image is seeded by (seed, epoch, place in the epoch) alone, so that any number of loader workers
gives the same pixels. Images are (H, W, 3) uint8 and keep their size. One kind of change a file; models/registry.py
names them, and `python -m models.data.augment --show NAME --out sheet.png` shows what one does.
"""

from models.data.augment.base import MEAN, STD, Augment, Image, Seat, image_rng
from models.data.augment.geometric import affine, flip, pad_crop, random_shift
from models.data.augment.occlusion import cutout, erase, random_patch
from models.data.augment.photometric import colour_jitter

__all__ = [
    "MEAN",
    "STD",
    "Augment",
    "Image",
    "Seat",
    "affine",
    "colour_jitter",
    "cutout",
    "erase",
    "flip",
    "image_rng",
    "pad_crop",
    "random_patch",
    "random_shift",
]
