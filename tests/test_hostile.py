"""What others wrote: files that are not what they say, names that are more than names. Refused in a sentence each."""

import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from configs.errors import ConfigError, DataError
from configs.load import load_build_config
from models.data.images import FORMATS, MAX_BYTES, decode, list_images
from models.data.layouts import read_layout
from models.data.layouts.lists import inside
from models.data.layouts.market1501 import read_folder
from models.data.layouts.naic2020 import read_naic2020
from models.data.layouts.table import read_table
from models.data.split import content_digest, make_split
from tests import test_layouts

# -------------------------------------------------------------------------------------------------------------- images


def picture(kind, size=(8, 6), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, rows):
    """A PNG that says it is so large, with these bytes of pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(x) run\nshowpage\n%%EOF\n" + b" " * 600
HOSTILE = {
    "postscript": (EPS, "not an image"),
    "pdf": (b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF", "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image"),
    "html": (b"<!doctype html><script>alert(1)</script>", "not an image"),
    "photoshop": (b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 6, 8, 8, 3) + b"\0" * 400, "not an image"),
    "icon": (picture("ICO"), "not an image"),
    "zip": (b"PK\x03\x04" + b"\0" * 100, "not an image"),
    "wider than its pixels": (png(4000, 4000, b"\0" * 99), "."),
    "bomb": (png(100_000, 100_000, b"\0" * 99), "pixels"),
    "just over": (png(50_000_001, 1, b"\0" * 99), "pixels"),
    "no width": (png(0, 8, b""), "."),
    "jpeg of a lying header": (picture("JPEG").replace(b"\0\x06\0\x08", b"\xff\xff\xff\xff", 1), "pixels"),
    "gif of a lying screen": (picture("GIF").replace(b"\x08\0\x06\0", b"\xff\xff\xff\xff", 1), "pixels"),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's own, before it refuses
@pytest.mark.parametrize("what", HOSTILE)
def test_a_picture_that_lies(tmp_path, what):
    content, words = HOSTILE[what]
    (tmp_path / "0001_c1.jpg").write_bytes(content)
    begun = time.process_time()
    with pytest.raises(DataError, match=rf"0001_c1\.jpg: cannot be decoded \(.*{words}") as refused:
        decode(tmp_path / "0001_c1.jpg", (32, 32))
    assert "skip" in str(refused.value) and time.process_time() - begun < 5


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_one_of_the_read_kinds_under_anothers_name_is_what_it_is(tmp_path, kind):
    """Data sets hold PNGs named .jpg; the pixels are the same under any name."""
    (tmp_path / "x.jpg").write_bytes(picture(kind))
    assert kind in FORMATS and abs(decode(tmp_path / "x.jpg").astype(int) - (10, 200, 30)).max() <= 9


def test_two_files_in_one_are_the_picture_alone(tmp_path):
    """A picture with an archive or a page behind it: the picture is read, the rest is not."""
    for tail in (b"PK\x03\x04" + b"\0" * 50, b"<script>alert(1)</script>"):
        (tmp_path / "x.png").write_bytes(picture("PNG") + tail)
        assert decode(tmp_path / "x.png").shape == (6, 8, 3)


def test_a_pipe_and_a_device_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for path in list_images(tmp_path):
        with pytest.raises(DataError, match=r"cannot be decoded \(not a regular file\)"):
            decode(path)
        with pytest.raises(
            DataError, match=r"cannot be read \(not a regular file\)\. Restore it, or leave it out with --set"
        ):
            content_digest(make_split([(path.name, path, 1, 1)]), n_jobs=1)


@pytest.mark.parametrize("layout", ["table", "naic2019", "aicity", "msmt17", "visda2020"])
def test_a_pipe_in_the_place_of_a_list(tmp_path, layout):
    (tmp_path / "x").mkdir()
    test_layouts.MAKERS[layout](tmp_path / "x")
    lists = [path for path in (tmp_path / "x").rglob("*") if path.suffix in (".csv", ".txt", ".xml")]
    lists = [path for path in lists if path.name != "list_val.txt"]  # msmt17 does not read it
    assert lists
    for path in lists:
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(DataError, match=r"cannot be read \(not a regular file\)"):
            read_layout(layout, tmp_path / "x", wanted=())
        path.unlink()
        path.write_bytes(kept)


@pytest.mark.parametrize("name", [f"0001_c{2**70}s1.jpg", f"{2**70}_c1s1.jpg", "\u0661_c1s1.jpg"])
def test_numbers_in_names_that_no_list_holds(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(DataError, match="the name must begin with person and camera"):
        read_folder(tmp_path)


def test_a_file_of_terabytes(tmp_path):
    with open(tmp_path / "x.jpg", "wb") as f:
        f.truncate(MAX_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(DataError, match=r"800,000,001 bytes, more than 800,000,000"):
        content_digest(make_split([("x.jpg", tmp_path / "x.jpg", 1, 1)]), n_jobs=1)


# --------------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["a\nb.jpg", "a\x1b]0;x\x07.jpg", "a\x7f.jpg", "gpj.\u202ea.jpg", "a\u2028b.jpg", os.fsdecode(b"\xff\xfe.jpg")],
)
def test_names_that_no_table_or_terminal_takes(tmp_path, name):
    with pytest.raises(
        DataError, match=r"1 image names have characters that are not allowed.* Rename the files"
    ) as refused:
        make_split([("b.jpg", tmp_path, 1, 1), (name, tmp_path, 1, 1)])
    assert str(refused.value).isprintable() and str(refused.value).isascii()


@pytest.mark.parametrize("name", ["行人 é.jpg", "=1+1.jpg", "<b>&'\".jpg", "a,b;c.jpg", "-rf.jpg"])
def test_names_that_are_only_odd_are_names(tmp_path, name):
    """Tables quote them and pages escape them; nobody runs them."""
    assert make_split([(name, tmp_path, 1, 1)]).names == (name,)


PATHS = ["../secret.jpg", "/etc/passwd", "a/../../b.jpg", "..", ""]


@pytest.mark.parametrize("path", PATHS)
def test_paths_that_lead_out_of_a_data_set(tmp_path, path):
    with pytest.raises(DataError, match="inside"):
        inside(tmp_path, path, "list.txt, line 1")
    (tmp_path / "df.csv").write_text(f"label,path,split,is_query,is_gallery\n1,{path},train,,\n")
    with pytest.raises(DataError, match=r"df\.csv, line 2: path"):
        read_table(tmp_path)


@pytest.mark.parametrize("path", PATHS[:3])
def test_a_label_list_names_files_of_its_folder_alone(tmp_path, path):
    for folder in ("train/images", "test/query", "test/gallery"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(b"")
    (tmp_path / "train/label.txt").write_text(f"{path}:7\n")
    with pytest.raises(DataError, match=r"label\.txt, line 1: .* is not in"):
        read_naic2020(tmp_path)


# ---------------------------------------------------------------------------------------------------------------- YAML

BOMB = "[{}]".format(",".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 1}]" for i in range(12)))


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!anything 1",
        "[" * 3000,
        BOMB,
        "2001-99-99",
        "9" * 5000,
    ],
)
def test_yaml_that_is_more_than_values(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is not a YAML value"):
        load_build_config(["r50"], sets=[f"recipe.seed={value}"])
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------------------------------------------------- arrays


def test_arrays_of_objects_are_no_arrays(tmp_path):
    """What a kept `.npy` would have to be to run code."""
    np.save(tmp_path / "x.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays"):
        np.load(tmp_path / "x.npy", mmap_mode=None)
    with pytest.raises(ValueError, match="Array can't be memory-mapped"):
        np.load(tmp_path / "x.npy", mmap_mode="r")
