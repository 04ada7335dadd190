"""Files that are not as they should be: those whose pixels are all there are read, with a word; the others are not."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from configs.console.progress import Progress
from configs.errors import DataError
from models.data.batches import pack
from models.data.doctor.findings import find_in_files
from models.data.doctor.inspect_files import inspect_file
from models.data.images import decode, read
from models.data.split import make_split

NOISE = np.random.default_rng(0).integers(0, 256, (40, 24, 3), np.uint8)


def jpeg(**options):
    buffer = io.BytesIO()
    Image.fromarray(NOISE).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png(text, packed):
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", text, zip=packed)
    Image.fromarray(NOISE).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_last_two_bytes(tmp_path, cut, quality, mode):
    Image.fromarray(NOISE).convert(mode).save(tmp_path / "whole.jpg", quality=quality)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:-cut])
    pixels, remark = read(tmp_path / "cut.jpg")
    np.testing.assert_array_equal(pixels, decode(tmp_path / "whole.jpg"))
    assert remark == "a JPEG without its last bytes; its pixels are complete"


@pytest.mark.parametrize("cut", [3, 4, 5, 10, 50, 300, 600])
def test_a_jpeg_without_pixels_is_refused(tmp_path, cut):
    content = jpeg(quality=75)
    (tmp_path / "x.jpg").write_bytes(content[:-cut])
    with pytest.raises(DataError, match=rf"truncated after {len(content) - cut:,} bytes"):
        decode(tmp_path / "x.jpg")


def test_a_progressive_jpeg_shows_nothing_by_its_pixels(tmp_path):
    (tmp_path / "x.jpg").write_bytes(jpeg(progressive=True)[:-2])
    with pytest.raises(DataError, match="truncated"):
        decode(tmp_path / "x.jpg")


@pytest.mark.parametrize(("size", "packed"), [(3_000_000, True), (68_000_000, False)])
def test_a_png_with_a_long_text(tmp_path, size, packed):
    (tmp_path / "x.png").write_bytes(png("a" * size, packed))
    pixels, remark = read(tmp_path / "x.png")
    np.testing.assert_array_equal(pixels, NOISE)
    assert remark == "a PNG with too much text; the text is ignored"
    (tmp_path / "y.png").write_bytes(png("a" * 3_000_000, packed=True)[:-400])
    with pytest.raises(DataError, match="truncated"):
        decode(tmp_path / "y.png")


def test_a_build_and_the_doctor_say_so(tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(jpeg()[:-2])
    (tmp_path / "b.jpg").write_bytes(jpeg())
    lists = make_split([(n, tmp_path / n, 1, 1) for n in ("a.jpg", "b.jpg")])
    pack(lists, (32, 32), tmp_path, Progress())
    remark = f"{tmp_path / 'a.jpg'}: a JPEG without its last bytes; its pixels are complete"
    assert f"note: 1 damaged file was read all the same: {remark}" in capsys.readouterr().err
    found = find_in_files({"train": (lists, [inspect_file(path) for path in lists.paths])})
    assert [(f.weight, f.text, f.examples) for f in found] == [("note", "1 damaged file", (remark,))]
