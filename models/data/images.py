"""Reading image files as (H, W, 3) uint8 RGB. Errors name the file."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image, ImageOps

from configs.console.quoting import set_option
from configs.errors import DataError, ImageError
from models.data.crop import box_of
from models.data.mend import repair_image

SUFFIXES = frozenset(f".{ending}" for ending in (  # Pillow's endings of the formats below
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "bmp", "webp", "tif", "tiff", "gif", "ppm", "pgm", "pbm", "pnm", "pfm",
))  # fmt: skip
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")  # by content; some other readers start programs
MAX_PIXELS = 50_000_000  # a pedestrian crop has 10^4 to 10^6; more is a mistake or a decompression bomb
MAX_BYTES = 16 * MAX_PIXELS
PLAIN = "bilinear"  # the default filter for resizing
RESAMPLINGS = {
    PLAIN: Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def list_images(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name. Hidden files, such as `._0001.jpg` of a Mac, are skipped.

    Raises:
        DataError: the folder is missing, or has files but no image.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; check --data (the data set's folder) and --layout (its layout)")
    with os.scandir(folder) as entries:  # fast for 100,000 files: no Path and no stat per file
        names = [e.name for e in entries if e.name[0] != "." and not e.is_dir()]
    images = [folder / name for name in sorted(names) if names_image(name)]
    if names and not images:
        raise DataError(
            f"{folder}: {len(names):,} files, first {min(names)!r}, and no image; image names end in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return images


def names_image(name: str) -> bool:
    """Whether a file name is that of an image."""
    return name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES


def decode(path: Path, size: tuple[int, int] | None = None, resampled: str = PLAIN) -> NDArray[np.uint8]:
    """Read one image; see `read`."""
    return read(path, size, resampled)[0]


def read(path: Path, size: tuple[int, int] | None = None, resampled: str = PLAIN) -> tuple[NDArray[np.uint8], str]:
    """Read one image, and a remark about its file ('' for none).

    Palette, grey, 1-bit and CMYK images become RGB.
    16-bit samples are scaled to 8 bits.
    Transparent pixels become white.
    An EXIF orientation is applied.
    A path with a box (`crop.py`) gives the crop, in pixels of the image as it is shown.
    A file with complete pixels is read even if its end or its text is damaged.

    Args:
        path: the file.
        size: height, width to resize to with antialiasing, or None to keep the size.
        resampled: the filter, a key of `RESAMPLINGS`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: it cannot be decoded. The message names the file and the reason.
    """
    remark = ""
    try:
        check_file(path)
        try:
            rgb = _pixels(path)
        except (OSError, ValueError) as e:
            whole, remark = repair_image(path, e)
            rgb = _pixels(io.BytesIO(whole))
    except MemoryError:
        raise
    except Exception as e:  # Pillow's readers raise any error on damaged bytes
        raise ImageError(path, _reason(path, e), f"Replace it, or {how_to_skip(path)}") from e
    rgb = _cut(rgb, path)
    if size is not None and (rgb.height, rgb.width) != size:
        rgb = rgb.resize((size[1], size[0]), RESAMPLINGS[resampled])
    return np.asarray(rgb), remark


def _cut(rgb: Image.Image, path: Path) -> Image.Image:
    """Crop to the path's box, clipped to the image.

    Raises:
        ImageError: the box is outside the image.
    """
    box = box_of(path)
    if box is None:
        return rgb
    left, upper, right, lower = max(0, box[0]), max(0, box[1]), min(rgb.width, box[2]), min(rgb.height, box[3])
    if left >= right or upper >= lower:
        reason = f"the box {box} lies outside of {rgb.width} x {rgb.height} pixels"
        raise ImageError(path, reason, f"Correct the box, or {how_to_skip(path)}")
    return rgb.crop((left, upper, right, lower))


def _pixels(file: Path | io.BytesIO) -> Image.Image:
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


def how_to_skip(path: Path) -> str:
    """The option that leaves one file out of a build, by its path."""
    return f"leave it out with {set_option('competition.skip', [str(path)])}"


def check_file(path: Path) -> None:
    """Check that a file is a regular file. Reading a pipe or a device would never end.

    Raises:
        OSError: no such file.
        ValueError: not a regular file, or too large for an image.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("not a regular file")
    if facts.st_size > MAX_BYTES:
        raise ValueError(f"{facts.st_size:,} bytes, more than {MAX_BYTES:,}")


def decode_all(
    paths: Sequence[Path],
    size: tuple[int, int],
    n_jobs: int = -1,
    odd: Callable[[str], None] = lambda remark: None,
    resampled: str = PLAIN,
) -> Iterator[NDArray[np.uint8]]:
    """Decode images in order on all cores, each (H, W, 3) uint8 of one size.

    Args:
        odd: called with a remark for each damaged file that was read.
    """
    tasks = (delayed(read)(path, size, resampled) for path in paths)
    images = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(tasks)
    try:
        for path, (image, remark) in zip(paths, images, strict=True):
            if remark:
                odd(f"{path}: {remark}")
            yield image
    finally:
        with warnings.catch_warnings():  # joblib warns of unused results after a full disk or Ctrl-C
            warnings.simplefilter("ignore")
            images.close()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I"):
        grey = np.asarray(image).astype(np.int64)
        if grey.min(initial=0) < 0 or grey.max(initial=0) > 65535:
            raise ValueError(f"samples from {grey.min()} to {grey.max()}; allowed are 0 to 65535 (16 bits)")
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point samples have no defined range")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    return image.convert("RGB")


def _reason(path: Path, error: BaseException) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return "no such file"
    if size == 0 and path.is_file():
        return "the file is empty"
    if "truncated" in str(error).lower():
        return f"truncated after {size:,} bytes"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"not an image of a known format ({size:,} bytes); known are {', '.join(FORMATS)}"
    return str(error)
