"""Decoding: every kind of file, every orientation, and everything that is no image."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from configs.errors import DataError
from models.data.images import MAX_PIXELS, decode, decode_all, list_images

RAMP = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)  # rises along rows: no two orientations look alike
COLOURS = np.stack((RAMP, RAMP.T, 255 - RAMP), axis=2)


def save(tmp_path, image, name="x.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def grey(values):
    return np.repeat(np.asarray(values, dtype=np.uint8)[:, :, None], 3, axis=2)


# ---------------------------------------------------------------------------------------------------------- every mode


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "gif", "webp"])
def test_lossless_colours_of_every_format(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    got = decode(save(tmp_path, Image.fromarray(COLOURS), f"x.{suffix}", **options))
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, COLOURS)


def test_jpeg(tmp_path):
    got = decode(save(tmp_path, Image.new("RGB", (16, 24), (200, 100, 50)), "x.jpg", quality=100))
    assert got.shape == (24, 16, 3) and np.abs(got.astype(int) - (200, 100, 50)).max() <= 2


def test_one_bit(tmp_path):
    black_and_white = np.array([[0, 1, 1], [1, 0, 0]], dtype=bool)
    got = decode(save(tmp_path, Image.fromarray(black_and_white)))
    np.testing.assert_array_equal(got, grey(black_and_white * 255))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "pgm"])
def test_grey(tmp_path, suffix):
    np.testing.assert_array_equal(decode(save(tmp_path, Image.fromarray(RAMP), f"x.{suffix}")), grey(RAMP))


def over_white(colours, alpha):
    a = alpha[:, :, None] / 255
    return colours * a + 255 * (1 - a)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_shows_white(tmp_path, mode):
    alpha = RAMP.T.copy()
    image = Image.fromarray(RAMP if mode == "LA" else COLOURS)
    image.putalpha(Image.fromarray(alpha))
    assert image.mode == mode
    want = over_white(grey(RAMP) if mode == "LA" else COLOURS, alpha)
    got = decode(save(tmp_path, image))
    assert np.abs(got - want).max() <= 1
    np.testing.assert_array_equal(got[0, 0], [255, 255, 255])  # alpha 0


def palette():
    image = Image.fromarray(np.array([[0, 1], [2, 3]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    return image


def test_palette(tmp_path):
    want = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [100, 110, 120]]]
    np.testing.assert_array_equal(decode(save(tmp_path, palette())), want)


@pytest.mark.parametrize("transparency", [1, bytes([255, 0])], ids=["one index", "a byte each"])
def test_palette_with_transparency(tmp_path, transparency):
    got = decode(save(tmp_path, palette(), transparency=transparency))
    want = [[[10, 20, 30], [255, 255, 255]], [[70, 80, 90], [100, 110, 120]]]
    np.testing.assert_array_equal(got, want)


def test_palette_gif_with_transparency(tmp_path):
    got = decode(save(tmp_path, palette(), "x.gif", transparency=2))
    np.testing.assert_array_equal(got[1, 0], [255, 255, 255])
    np.testing.assert_array_equal(got[0, 1], [40, 50, 60])


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", (40, 50, 60))])
def test_a_colour_named_transparent(tmp_path, mode, colour):
    image = Image.new(mode, (2, 1), colour)
    image.putpixel((1, 0), 7 if mode == "L" else (7, 8, 9))
    got = decode(save(tmp_path, image, transparency=colour))
    np.testing.assert_array_equal(got[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(got[0, 1], [7, 7, 7] if mode == "L" else [7, 8, 9])


def test_cmyk(tmp_path):
    """Cyan without black and half yellow: (1 - c)(1 - k) of each channel."""
    image = Image.new("CMYK", (16, 16), (255, 0, 128, 0))
    want = np.array([0, 255, 127])
    assert np.abs(decode(save(tmp_path, image, "x.tif"))[3, 3] - want).max() <= 1
    assert np.abs(decode(save(tmp_path, image, "x.jpg", quality=100))[3, 3].astype(int) - want).max() <= 4


SAMPLES = np.array([[0, 128, 129, 257], [32768, 65535, 65406, 65407]], dtype=np.uint16)
SCALED = np.array([[0, 0, 1, 1], [128, 255, 254, 255]])  # round(x / 257)


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_16_bit_grey_is_scaled_and_not_cut(tmp_path, name):
    np.testing.assert_array_equal(decode(save(tmp_path, Image.fromarray(SAMPLES), name)), grey(SCALED))


def test_big_endian_16_bit_grey(tmp_path):
    """A binary PGM of depth 65535 is big-endian."""
    (tmp_path / "x.pgm").write_bytes(b"P5\n4 2\n65535\n" + SAMPLES.astype(">u2").tobytes())
    np.testing.assert_array_equal(decode(tmp_path / "x.pgm"), grey(SCALED))


@pytest.mark.parametrize("value", [-1, 65536])
def test_32_bit_samples_out_of_16_bits_are_refused(tmp_path, value):
    path = save(tmp_path, Image.fromarray(np.array([[value]], dtype=np.int32)), "x.tif")
    with pytest.raises(DataError, match=rf"x\.tif: .*samples from {value} to {value}; allowed are 0 to 65535"):
        decode(path)


def test_floating_point_is_refused(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[0.5]], dtype=np.float32)), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: .*floating-point"):
        decode(path)


# ---------------------------------------------------------------------------------------------------------- orientation


ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),  # clockwise
    7: lambda a: np.rot90(a[:, ::-1], -1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.webp"])
def test_exif_orientation(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "x.webp" else {}
    wide = COLOURS[:5]
    path = save(tmp_path, Image.fromarray(wide), name, exif=exif, **options)
    np.testing.assert_array_equal(decode(path), ORIENTATIONS[orientation](wide))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_of_a_jpeg(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks = np.kron(COLOURS[:2, :3], np.ones((16, 16, 1), dtype=np.uint8))
    got = decode(save(tmp_path, Image.fromarray(blocks), "x.jpg", quality=100, subsampling=0, exif=exif))
    want = ORIENTATIONS[orientation](blocks)
    assert got.shape == want.shape and np.abs(got.astype(int) - want).max() <= 8


def test_16_bit_grey_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    got = decode(save(tmp_path, Image.fromarray(SAMPLES), exif=exif))
    np.testing.assert_array_equal(got, np.rot90(grey(SCALED), -1))


# ----------------------------------------------------------------------------------------------------------------- size


def test_size_is_height_and_width_and_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    got = decode(save(tmp_path, Image.fromarray(stripes)), (16, 8))
    assert got.shape == (16, 8, 3)
    assert np.abs(got.astype(int) - 127).max() < 12  # without antialiasing it would be all black


def test_its_own_size_is_not_touched(tmp_path):
    np.testing.assert_array_equal(decode(save(tmp_path, Image.fromarray(COLOURS)), (8, 8)), COLOURS)


def test_decode_all_keeps_the_order(tmp_path):
    paths = [save(tmp_path, Image.new("L", (2, 2), i), f"{i}.png") for i in range(40)]
    got = [int(image[0, 0, 0]) for image in decode_all(paths, (2, 2), n_jobs=3)]
    assert got == list(range(40))


def test_images_that_nobody_asks_for_any_more_are_no_warning(tmp_path):
    """As where the disk is full: joblib would tell the user of tasks that were cancelled."""
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for path in paths:
        Image.new("RGB", (4, 4)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        images = decode_all(paths, (2, 2), n_jobs=2)
        assert next(images).shape == (2, 2, 3)
        images.close()


def test_decode_all_names_the_broken_one(tmp_path):
    paths = [save(tmp_path, Image.new("L", (2, 2), i), f"{i}.png") for i in range(20)]
    paths[11].write_text("no image")
    with pytest.raises(DataError, match=r"11\.png: cannot be decoded"):
        list(decode_all(paths, (2, 2), n_jobs=2))


# ------------------------------------------------------------------------------------------------------- what is broken


def noise(height=64, width=48):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_truncated(tmp_path, name):
    path = save(tmp_path, noise(), name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{name}: cannot be decoded \(truncated after {len(whole) // 2:,} bytes\)"):
        decode(path)


def test_empty_file(tmp_path):
    (tmp_path / "x.jpg").touch()
    with pytest.raises(
        DataError, match=r"x\.jpg: cannot be decoded \(the file is empty\)\. Replace it, or leave it out"
    ):
        decode(tmp_path / "x.jpg")


def test_text_named_jpg(tmp_path):
    (tmp_path / "x.jpg").write_text("no image, and long enough to be one\n")
    with pytest.raises(DataError, match=r"not an image of a known format \(36 bytes\)"):
        decode(tmp_path / "x.jpg")


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "x.jpg")


def test_a_folder_named_jpg(tmp_path):
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match="cannot be decoded"):
        decode(tmp_path / "x.jpg")


def bomb(path, width, height):
    """A PNG of a few bytes that says it is that large."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    return path


@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS // 100 + 1, 100), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, width, height):
    with pytest.raises(DataError, match="pixels"):
        decode(bomb(tmp_path / "x.png", width, height))


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it can still read around
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.tif", "x.webp", "x.bmp"])
def test_whatever_is_broken_it_is_an_image_or_an_error_that_names_the_file(tmp_path, name):
    """Files cut anywhere and with random bytes changed: no other exception ever comes out."""
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    noise(24, 16).save(buffer, {"x.jpg": "JPEG", "x.tif": "TIFF"}.get(name, name[2:].upper()))
    whole, refused = buffer.getvalue(), 0
    for i in range(150):
        broken = bytearray(whole)
        if i % 3 == 0:
            broken = broken[: rng.integers(1, len(whole))]
        for place in rng.integers(0, min(len(broken), 120 if i % 2 else len(broken)), 4):
            broken[place] = rng.integers(256)
        (tmp_path / name).write_bytes(bytes(broken))
        try:
            assert decode(tmp_path / name, (8, 8)).shape == (8, 8, 3)
        except DataError as e:
            assert name in str(e)
            refused += 1
    assert refused > 20


# -------------------------------------------------------------------------------------------------------------- listing


def test_list_images_takes_every_kind_and_nothing_else_by_name(tmp_path):
    for name in ["b.JPG", "a.png", "c.jpeg", "10.tif", "9.webp", "notes.txt", "Thumbs.db", "._a.png", ".x.jpg"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["10.tif", "9.webp", "a.png", "b.JPG", "c.jpeg"]


def test_list_images_of_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder.*--layout"):
        list_images(tmp_path / "nowhere")
