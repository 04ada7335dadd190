"""A table of one's own: whatever of it is not read is said, and what contradicts itself is refused."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from configs.console.progress import Progress
from configs.errors import DataError, ImageError
from ensemble import split as splitting
from models.data.crop import box_of
from models.data.doctor.inspect_files import inspect_files
from models.data.images import FORMATS, SUFFIXES, decode, list_images, names_image
from models.data.layouts import read_layout
from models.data.split import content_digest, own_rows
from tests.tables import built, write_member, write_table

HEADER = "label,path,split,is_query,is_gallery"
ROWS = ["fox,q0.jpg,test,1,0", "fox,g0.jpg,test,0,1", "owl,q1.jpg,test,1,0", "owl,g1.jpg,test,0,1"]


def read(root):
    return read_layout("table", root, wanted=("query", "gallery"))


def told(root):
    return [str(finding) for finding in read(root).found]


def table(tmp_path, *lines, header=HEADER):
    return write_table(tmp_path / "t", header, lines or ROWS)


def test_nothing_is_said_of_a_table_that_is_read_whole(tmp_path):
    assert told(table(tmp_path)) == []


def test_columns_that_are_not_read_are_told(tmp_path, capsys):
    root = table(tmp_path, *(f"{r},red,{i // 2}" for i, r in enumerate(ROWS)), header=HEADER + ",colour,mood")
    (said,) = told(root)
    assert said.startswith("note: df.csv has 2 unknown columns: 'colour', 'mood': ignored; ")
    built(
        root, tmp_path / "runs", write_member(tmp_path / "m.npz", {"q0.jpg": 0, "g0.jpg": 0, "q1.jpg": 1, "g1.jpg": 1})
    )
    assert said in capsys.readouterr().err


def test_easy_answers_of_the_own_sequence_are_told(tmp_path):
    root = table(tmp_path, *(f"{r},{s}" for r, s in zip(ROWS, ("dawn", "dawn", "dusk", ""), strict=True)),
                 header=HEADER + ",sequence")  # fmt: skip
    found = read(root)
    assert found.query.sequences.tolist() == [0, 1] and found.gallery.sequences.tolist() == [0, -1]
    (said,) = told(root)
    assert said.startswith("note: 1 query has gallery images of its sequence (q0.jpg): they are easy answers")


PHOTO = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


def photographs(root):
    for name in ("q0.png", "g0.png", "q1.png"):
        Image.fromarray(PHOTO).save(root / name)


def test_boxes_are_cropped_and_a_photograph_may_have_several(tmp_path):
    second = '"[4.4, 3, 6, 2]"'
    rows = ["fox,q0.png,test,1,0,2,1,10,5,", f"owl,q0.png,test,0,1,,,,,{second}", "fox,g0.png,test,0,1,,,,,",
            "owl,q1.png,test,1,0,,,,,"]  # fmt: skip
    root = table(tmp_path, *rows, header=HEADER + ",x_1,y_1,x_2,y_2,bbox")
    photographs(root)
    found = read(root)
    assert found.query.names == ("q0.png#2,1,10,5", "q1.png") and found.gallery.names == ("g0.png", "q0.png#4,3,11,5")
    crops = [decode(path) for path in (*found.query.paths, *found.gallery.paths)]
    for crop, want in zip(crops, (PHOTO[1:5, 2:10], PHOTO, PHOTO, PHOTO[3:5, 4:11]), strict=True):
        np.testing.assert_array_equal(crop, want)
    again = pickle.loads(pickle.dumps(found.query.paths[0]))
    np.testing.assert_array_equal(decode(again, (4, 8)), crops[0])
    assert told(root) == [], "boxes of one photograph are other images, and nothing is left unread"
    assert own_rows(found.query, found.gallery).tolist() == [-1, -1]
    same = own_rows(found.query, found.query, ({}, {}))
    assert same.tolist() == [0, 1]
    parts = content_digest(found.query).parts, content_digest(found.gallery).parts
    assert own_rows(found.query, found.gallery, parts).tolist() == [-1, 0], "the whole of an equal file is a copy"
    assert content_digest(found.query) != content_digest(replace(found.query, paths=(root / "q0.png", root / "q1.png")))
    seen = inspect_files(found.query.paths, Progress(quiet=True))
    assert [(one.height, one.width) for one in seen] == [(4, 8), (20, 30)] and seen[0].digest != seen[1].digest


def test_boxes_and_ids_are_kept_by_the_command_that_splits(tmp_path):
    rows = [f"{i},{'abcdefghij'[i // 4]},one.png,train,,,{i % 8},{i % 5},{i % 8 + 9},{i % 5 + 8}" for i in range(40)]
    root = table(tmp_path, *rows, header="image_id,label,path,split,is_query,is_gallery,x_1,y_1,x_2,y_2")
    Image.fromarray(PHOTO).save(root / "one.png")
    splitting.main(["--data", str(root), "--layout", "table", "--out", str(tmp_path / "held")])
    found, made = read_layout("table", root, wanted=("train",)).train, read(tmp_path / "held")
    boxes = dict(zip(found.names, map(box_of, found.paths), strict=True))
    for part in (made.train, made.query, made.gallery):
        assert len(part) and [boxes[name] for name in part.names] == [*map(box_of, part.paths)]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ("5,1,5,9,", "has no area"),
        ("1,2,3,,", "x_1, y_1, x_2, y_2 are 1, 2, 3, ; a box is four numbers"),
        ("a,1,5,9,", "a box is four numbers"),
        ("1,1,5,9,1 1 2 2", "a bbox and x_1"),
        (",,,,1 1 2", "bbox '1 1 2'; a box is four numbers"),
        (",,,,1 1 inf 2", "a box is four numbers"),
    ],
)
def test_boxes_that_are_none(tmp_path, box, said):
    with pytest.raises(DataError, match=f"line 2: .*{said}"):
        read(
            table(
                tmp_path, f"{ROWS[0]},{box}", *(f"{r},,,,," for r in ROWS[1:]), header=HEADER + ",x_1,y_1,x_2,y_2,bbox"
            )
        )


def test_a_box_outside_of_its_photograph(tmp_path):
    root = table(
        tmp_path, "fox,q0.png,test,1,0,30,0,40,9", "fox,g0.png,test,0,1,25,-3,40,9", header=HEADER + ",x_1,y_1,x_2,y_2"
    )
    photographs(root)
    with pytest.raises(ImageError, match=r"the box \(30, 0, 40, 9\) lies outside of 30 x 20 pixels"):
        decode(read(root).query.paths[0])
    np.testing.assert_array_equal(decode(read(root).gallery.paths[0]), PHOTO[:9, 25:], "what lies in the photograph")


@pytest.mark.parametrize("word", ["nan", "NaN", "none", "unknown", "<NA>", "null", ""])
def test_nobody_is_no_one(tmp_path, word):
    """Images called nan are not one animal: it is said, and where there is no other label nothing is scored."""
    root = table(tmp_path, *(r.replace("fox", word).replace("owl", word) for r in ROWS))
    found = read(root)
    assert (found.query.pids == -1).all() and not found.scorable
    assert len(told(root)) == (1 if word else 0)
    if word:
        assert told(root)[0].startswith(f"hurts: df.csv has words that mean 'unknown': label {word!r} (4): ")


def test_cameras_may_be_any_text(tmp_path):
    lines = [f"{r},{c}" for r, c in zip(ROWS, ("north gate", "nan", str(2**70), ""), strict=True)]
    found = read(table(tmp_path, *lines, header=HEADER + ",camid"))
    assert found.query.camids.tolist() == [1, 0] and found.gallery.camids.tolist() == [-1, -1]
    numbers = [f"{r},{c}" for r, c in zip(ROWS, ("3.0", "12", "3", ""), strict=True)]
    found = read(table(tmp_path, *numbers, header=HEADER + ",camid"))
    assert found.query.camids.tolist() == [3, 3] and found.gallery.camids.tolist() == [12, -1]


@pytest.mark.parametrize(
    ("lines", "header", "says"),
    [
        (["fox,q0.jpg,test,1,0", 'fox,"g0.jpg,test,0,1'], HEADER, r"line 3: not valid CSV .*is a quote not closed"),
        (['fox,"g0.jpg,test,0,1', *["owl,g1.jpg,test,0,1"] * 10_000], HEADER, r"line 2: not valid CSV"),
        (["fox,q,0.jpg,test,1,0"], HEADER, r"line 2: 6 fields, the header has 5; quote fields with commas"),
        (["fox,q0.jpg,test,1,0,owl"], HEADER + ",label", r"column 'label' occurs more than once"),
        (["fox;q0.jpg;test;1;0"], HEADER.replace(",", ";"), r"no column 'label'; .* separated by commas"),
        (["fox,q0.jpg,test,1,0", "owl,q0.jpg,test,0,1"], HEADER, r"line 3: 'q0.jpg' is 'owl' here and 'fox' in line 2"),
        (["fox,q0.jpg,test,1,0", "fox,q0.jpg,test,1,1"], HEADER, r"lines 2 and 3: 'q0.jpg' is in one list more than"),
        (["fox,a/\x07q0.jpg,test,1,0"], HEADER, r"line 2: path 'a/\\x07q0.jpg'; must be inside"),
        (["nan,q0.jpg,train,,"], HEADER, r"line 2: a train row without a label"),
    ],
)
def test_what_is_wrong_is_named_by_line(tmp_path, lines, header, says):
    (tmp_path / "df.csv").write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(DataError, match=says):
        read(tmp_path)


# -------------------------------------------------------------------------------------------------- files of a folder


def market(root, query="0001_c1_0.jpg", gallery=("0001_c2_0.jpg",)):
    for folder, names in (
        ("bounding_box_train", ["0007_c1_0.jpg"]),
        ("query", [query]),
        ("bounding_box_test", gallery),
    ):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


def test_every_ending_of_the_formats_that_are_read():
    Image.init()
    assert {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS} == SUFFIXES
    assert names_image("a.JFIF") and not names_image("a.JPG_orig") and not names_image(".a.jpg")


def test_files_of_other_endings_are_counted_aloud(tmp_path):
    root = market(tmp_path, gallery=["0001_c2_0.jfif", "0001_c3_0.JPG_orig", "0001_c3_1.heic", "-1_c1_0.jpg", "x.txt"])
    found = read_layout("market1501", root)
    assert found.gallery.names == ("0001_c2_0.jfif",)
    assert [str(f).partition(": not read")[0] for f in found.found] == [
        "hurts: 2 files with other endings next to the images: .JPG_orig (1), .heic (1) "
        f"({root}/bounding_box_test/0001_c3_0.JPG_orig, {root}/bounding_box_test/0001_c3_1.heic)",
        f"note: 1 image that no list names ({root}/bounding_box_test/-1_c1_0.jpg)",
    ]


def test_a_folder_of_files_none_of_which_is_called_an_image(tmp_path):
    root = market(tmp_path, query="0001_c1_0.JPG_orig")
    with pytest.raises(DataError, match=r"query: 1 files, first '0001_c1_0.JPG_orig', and no image"):
        read_layout("market1501", root)
    (root / "query/0001_c1_0.JPG_orig").unlink()
    assert list_images(root / "query") == []
