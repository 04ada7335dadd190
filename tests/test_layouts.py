"""Every layout on a tiny folder laid out so: lists, identities, cameras, what is dropped, and what it is taken for."""

import numpy as np
import pytest

from configs.errors import ConfigError, DataError
from configs.load import load_competition
from ensemble import split as splitting
from models.data.layouts import LAYOUTS, read_layout
from models.data.layouts.aicity import read_labels
from models.data.layouts.detect import SIGNS, recognise
from models.data.layouts.lists import inside, read_lines, whole_number
from submit.formats import FORMATS
from tests.conftest import ROOT

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c3s1_000551_00.jpg", "0007_c2s3_070952_01.jpg"],
    "query": ["0001_c1s1_001051_00.jpg"],
    "bounding_box_test": ["-1_c1s1_000401_03.jpg", "0000_c1s1_000151_01.jpg", "0001_c2s1_000351_02.jpg"],
}


def touch(root, folders):
    for folder, names in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / name).touch()


def market(root):
    touch(root, MARKET | {"query": [*MARKET["query"], "._0001_c1s1_001051_00.jpg", "Thumbs.db"]})


def msmt17(root):
    train = ["0000/0000_000_01_0303morning_0008_0.jpg", "0001/0001_002_14_noon.jpg"]
    val = ["0001/0001_005_15_0303noon_0030_1.jpg"]
    test = ["0000/0000_000_03_0303morning_0001_0.jpg", "0000/0000_007_11_0303noon_0002_0.jpg"]
    touch(root, {"mask_train_v2": train + val, "mask_test_v2": test})
    for name, lines in (
        ("train", [f"{train[0]} 0", f"{train[1]} 1"]),
        ("val", [f"{val[0]} 1"]),
        ("query", [f"{test[0]} 0"]),
        ("gallery", [f"{test[1]} 0"]),
    ):
        (root / f"list_{name}.txt").write_bytes("\r\n".join(lines).encode() + b"\r\n")


def cuhk03np(root):
    touch(root, {f"{kind}/{folder}": names for kind in ("detected", "labeled") for folder, names in MARKET.items()})
    (root / "labeled" / "query" / "0001_c1s1_009999_00.png").touch()


def veri776(root):
    touch(
        root,
        {
            "image_train": ["0002_c001_00016450_0.jpg", "0002_c004_00016550_0.jpg", "0005_c001_0001_0.jpg"],
            "image_query": ["0001_c001_00016450_0.jpg"],
            "image_test": ["0001_c001_00016460_0.jpg", "0001_c020_00016470_0.jpg"],
        },
    )
    (root / "train_label.xml").touch()


def naic2019(root):
    touch(
        root,
        {
            "train_set": ["345382995.png", "833589802.png", "77221043.png", "105180993.png"],
            "query_a": ["5.png"],
            "gallery_a": ["7.png", "6.jpg"],
            "query_b": ["15.png"],
            "gallery_b": ["17.png"],
        },
    )
    lines = ["345382995.png 0", "833589802.png 0", "77221043.png 4", "105180993.png 4", "105180993.png 9"]
    (root / "train_list.txt").write_text("".join(f"train/{line}\n" for line in lines))
    (root / "query_a_list.txt").write_text("query_a/5.png 0\n")


def naic2020(root):
    touch(root, {"train/images": ["1.png", "2.png"], "test/query": ["5.png"], "test/gallery": ["7.png", "6.png"]})
    (root / "train" / "label.txt").write_text("1.png:15178\n2.png:3\n")


def aicity(root):
    touch(
        root,
        {
            "image_train": ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"],
            "image_query": ["000001.jpg", "000002.jpg"],
            "image_test": ["000001.jpg"],
        },
    )
    items = [("000001.jpg", "0001", "c001"), ("000002.jpg", "0333", "c012"), ("000003.jpg", "-1", "c001")]
    text = "".join(f'<Item imageName="{n}" vehicleID="{v}" cameraID="{c}" colorID="\u84dd" />\n' for n, v, c in items)
    head = '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0">\n<Items number="3">\n'
    (root / "train_label.xml").write_bytes((head + text + "</Items></TrainingImages>").encode("utf-8"))


def visda2020(root):
    touch(root, {"image_query": ["0000.jpg", "0001.jpg"], "image_gallery": [f"{i:06d}.jpg" for i in range(3)]})
    (root / "index_validation_query.txt").write_text("0000.jpg 1 33 1\n0001.jpg 2 44 0\n")
    (root / "index_validation_gallery.txt").write_text("000002.jpg 3 44 0\n000000.jpg 4 0 1\n000001.jpg 5 33 2\n")


def table(root):
    touch(root, {"images": ["a.png", "b.png", "c.png", "d.png"]})
    rows = ["cat,images/a.png,train,,,1", "dog,images/b.png,train,,,", "ape,images/c.png,validation,True,,1",
            "ape,images/d.png,validation,,True,2"]  # fmt: skip
    (root / "df.csv").write_text("label,path,split,is_query,is_gallery,camid\n" + "\n".join(rows) + "\n")


def drawn(root):
    touch(root, MARKET | {"unlabelled": ["u000000_c1.jpg"]})
    (root / "drawn.json").write_text("{}")


def wildlife(root):
    touch(root, {"images": ["a.png", "b.png", "c.png", "d.png"]})
    rows = ["1,fox,images/a.png,database,red,left,2026-01-02", "2,owl,images/b.png,train,,,",
            "3,fox,images/c.png,query,red,,", "4,fox,images/d.png,test,grey,right,"]  # fmt: skip
    (root / "metadata.csv").write_text("image_id,identity,path,split,species,orientation,date\n" + "\n".join(rows))


def class_folders(root):
    touch(
        root,
        {"train/fox": ["1.png", "2.png"], "train/owl": ["1.png"], "query/cat": ["1.png"], "gallery/cat": ["9.png"]},
    )
    touch(root, {"gallery/fox": [".hidden.png"]})


def labels_csv(root):
    touch(root, {"train": ["a.png", "b.png"], "test": ["c.png", "d.png"]})
    (root / "train.csv").write_text("filename,ground_truth,mood\na.png,fox,glad\nb.png,owl,\n")
    pairs = ["0,c.png,d.png", "1,d.png,c.png"]
    (root / "test.csv").write_text("row_id,query_image,gallery_image\n" + "\n".join(pairs) + "\n")


MAKERS = {
    "market1501": market,
    "msmt17": msmt17,
    "msmt17_trainval": msmt17,
    "cuhk03np": cuhk03np,
    "cuhk03np_labeled": cuhk03np,
    "veri776": veri776,
    "naic2019": naic2019,
    "naic2019_b": naic2019,
    "naic2020": naic2020,
    "aicity": aicity,
    "visda2020": visda2020,
    "table": table,
    "wildlife": wildlife,
    "class_folders": class_folders,
    "labels_csv": labels_csv,
    "drawn": drawn,
}
NAMED = ("wildlife", "class_folders")  # by what a table says, or by folder and file
BOXES = ([2, 2, 7], [1, 3, 2], [1], [1], [0, 1], [1, 2])
# train pids, train cameras, query pids, query cameras, gallery pids, gallery cameras
WANT = {
    "market1501": BOXES,
    "msmt17": ([0, 1], [1, 14], [2], [3], [2], [11]),
    "msmt17_trainval": ([0, 1, 1], [1, 14, 15], [2], [3], [2], [11]),
    "cuhk03np": BOXES,
    "cuhk03np_labeled": ([2, 2, 7], [1, 3, 2], [1, 1], [1, 1], [0, 1], [1, 2]),
    "veri776": ([2, 2, 5], [1, 4, 1], [1], [1], [1, 1], [1, 20]),
    "naic2019": ([0, 4, 0], [-1] * 3, [-1], [-1], [-1, -1], [-1, -1]),
    "naic2019_b": ([0, 4, 0], [-1] * 3, [-1], [-1], [-1], [-1]),
    "naic2020": ([15178, 3], [-1] * 2, [-1], [-1], [-1, -1], [-1, -1]),
    "aicity": ([1, 333], [1, 12], [-1, -1], [-1, -1], [-1], [-1]),
    "visda2020": ([], [], [44, 33], [2, 1], [44, 0, 33], [3, 4, 5]),
    "table": ([1, 2], [1, -1], [0], [1], [0], [2]),
    "wildlife": ([0, 1], [-1] * 2, [0, 0], [-1] * 2, [0, 0], [-1] * 2),
    "class_folders": ([1, 1, 2], [-1] * 3, [0], [-1], [0], [-1]),
    "labels_csv": ([0, 1], [-1] * 2, [-1] * 2, [-1] * 2, [-1] * 2, [-1] * 2),
    "drawn": BOXES,
}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data set"


def test_every_layout_is_tested_and_has_a_sign():
    assert set(LAYOUTS) == set(MAKERS) == set(WANT)
    assert set(SIGNS) == set(LAYOUTS) - {"msmt17_trainval"}


@pytest.mark.parametrize("name", LAYOUTS)
def test_reads(root, name):
    MAKERS[name](root)
    found = read_layout(name, root, wanted=("query", "gallery"))
    got = [
        getattr(getattr(found, part), what).tolist()
        for part in ("train", "query", "gallery")
        for what in ("pids", "camids")
    ]
    assert tuple(got) == WANT[name]
    for split in (found.train, found.query, found.gallery, found.unlabelled):
        assert all(
            path.is_file() and (path.name == n or name in NAMED)
            for n, path in zip(split.names, split.paths, strict=True)
        )
        if name != "visda2020":
            assert list(split.names) == sorted(split.names)
    assert found.scorable == (found.query.pids >= 0).all()


@pytest.mark.parametrize("name", SIGNS)
def test_is_recognised(root, name):
    if name == "cuhk03np_labeled":
        touch(root, {f"labeled/{folder}": names for folder, names in MARKET.items()})
    elif name == "naic2019_b":
        touch(root, {"train": ["1.png"], "test/query_b": ["1.png"], "test/gallery_b": ["1.png"]})
        (root / "train_list.txt").write_text("train/1.png 0\n")
    else:
        MAKERS[name](root)
    found = recognise(root)
    assert found.layout == name
    assert found.why.startswith(f"layout {name}, recognised by ")
    auto = read_layout("auto", root, wanted=("query", "gallery"))
    assert auto.query.names == read_layout(name, root, wanted=("query", "gallery")).query.names


def test_the_other_part_is_named(root):
    cuhk03np(root)
    assert "--layout cuhk03np_labeled takes the other part" in recognise(root).why


def test_market_in_its_own_subfolder(root):
    touch(root / "Market-1501-v15.09.15", MARKET)
    assert recognise(root).layout == "market1501" and "Market-1501-v15.09.15/query" in recognise(root).why
    assert len(read_layout("auto", root).train) == 3


def test_a_table_says_more_than_folders_of_its_names(tmp_path):
    """train, query and gallery are what people call the folders of the pictures that a table lists."""
    for part in ("train", "query", "gallery"):
        (tmp_path / part).mkdir()
    assert recognise(tmp_path).layout == "class_folders"
    (tmp_path / "df.csv").touch()
    assert recognise(tmp_path).layout == "table"


def test_a_folder_that_is_nothing_or_two_things(root):
    touch(root, {"photos": ["a.jpg"], "more": []})
    with pytest.raises(
        DataError, match=r"the folder has more/, photos/\. The layouts are: drawn, market1501, .* table, .*\. Give one"
    ):
        recognise(root)
    touch(root, {"bounding_box_train": [], "query": []})
    with pytest.raises(DataError, match=r"photos/, query/\. market1501 lacks bounding_box_test\. Give one"):
        recognise(root)
    market(root)
    table(root)
    with pytest.raises(DataError, match="could be market1501 or table; give one with --layout"):
        recognise(root)
    with pytest.raises(DataError, match="no such folder"):
        recognise(root / "none")
    with pytest.raises(ConfigError, match="unknown layout 'markt'; there are: auto, market1501"):
        read_layout("markt", root)


ITEM = "<Item imageName='000001.jpg' vehicleID='7'/>"


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [
        ("msmt17", "list_train.txt", "0000/0000_000.jpg 0\n", "line 1: .*camera as third field"),
        ("msmt17", "list_query.txt", "\n0000/0000_000_xx_a_b.jpg 0\n", r"line 2: the camera, .* 'xx'"),
        ("msmt17", "list_query.txt", "../../0000_000_01_a_b.jpg 0\n", "path '../../0000.*; must be inside"),
        ("msmt17", "list_gallery.txt", "/0000_000_01_a_b.jpg 0\n", "must be inside"),
        ("msmt17", "list_gallery.txt", "a/0000_000_01_a_b.jpg \u0661\n", "the id is"),
        ("naic2019", "train_list.txt", "train/345382995.png\n", "must be a whole number"),
        ("naic2019", "train_list.txt", "train/5.png 0\ntrain/5.png 1\n", "line 2: 5.png is person 1 here"),
        ("naic2019", "query_a_list.txt", "query_a/6.png 0\n", "'6.png' is not in"),
        ("aicity", "train_label.xml", "<Items><Item vehicleID='1'/></Items>", "item 1: has no imageName"),
        ("aicity", "train_label.xml", "<Items><Item imageName='9.jpg' vehicleID='1'/></Items>", "'9.jpg' is not in"),
        ("aicity", "train_label.xml", "<Items>", "cannot be read"),
        ("aicity", "train_label.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><Items/>", "declares entities"),
        ("visda2020", "index_validation_query.txt", "0000.jpg 1 33\n", "line 1: '0000.jpg 1 33'; must be"),
        ("visda2020", "index_validation_query.txt", "0000.jpg 1 33 0\n0001.jpg 1 33 0\n", "index 0 occurs twice"),
        ("visda2020", "index_validation_query.txt", "0000.jpg 1 33 1\n0001.jpg 1 33 2\n", "2 indices must be 0 to 1"),
        ("visda2020", "index_test_query.txt", "", "needs one file index_"),
        ("naic2020", "train/label.txt", "1.png 15178\n", "line 1: .*must be 'name.png:id'"),
        ("naic2020", "train/label.txt", "1.png:1\n1.png:2\n", "line 2: 1.png is person 2 here and 1 earlier"),
        ("naic2020", "train/label.txt", f"1.png:{2**70}\n", "line 1: the id is '1180"),
        ("aicity", "train_label.xml", f"<I>{ITEM}{ITEM.replace('7', '8')}</I>", "item 2: '000001.jpg' is"),
    ],
)  # fmt: skip
def test_lists_that_are_wrong(root, name, file, text, words):
    MAKERS[name](root)
    (root / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_layout(name, root, wanted=("query", "gallery"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_empty_folder_is_an_error_in_words(root, name):
    root.mkdir()
    with pytest.raises(DataError, match=r"needs a folder|no such folder|cannot be read|needs one file"):
        read_layout(name, root)


def test_test_identities_of_ai_city_are_read_where_they_are_told(root):
    aicity(root)
    for side, vehicle in (("query", 400), ("test", 401)):
        items = "".join(f"<Item imageName='{i:06d}.jpg' vehicleID='{vehicle}' cameraID='c002'/>" for i in (1,))
        (root / f"{side}_label.xml").write_text(f"<Items>{items}</Items>")
    found = read_layout("aicity", root)
    assert found.query.pids.tolist() == [400, -1] and found.gallery.pids.tolist() == [401]
    assert not found.scorable, "the one query that is told is not in the gallery"
    assert read_labels(root / "train_label.xml")["000003.jpg"] == (-1, 1)


def test_visda_without_identities(root):
    visda2020(root)
    (root / "index_validation_query.txt").write_text("0000.jpg 1 0 0\n0001.jpg 2 0 1\n")
    found = read_layout("visda2020", root, wanted=("query", "gallery"))
    assert not found.scorable and (found.gallery.pids == -1).all()


def test_lists_are_read_with_any_line_ends(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa b\r\n\r\n c\u2028d\t\n".encode())
    assert read_lines(tmp_path / "list.txt", "x", "lines") == [(1, "a b"), (3, "c\u2028d")]
    (tmp_path / "list.txt").write_bytes(b"a\xff")
    with pytest.raises(DataError, match="byte 1 is not UTF-8"):
        read_lines(tmp_path / "list.txt", "x", "lines")


@pytest.mark.parametrize("text", ["", "/a.png", "../a.png", "a/../../b.png", "a\\b.png", "a\0.png"])
def test_paths_stay_inside(tmp_path, text):
    with pytest.raises(DataError, match="must be inside"):
        inside(tmp_path, text, "here")


def test_numbers_are_plain():
    assert [whole_number(t, "x", "here") for t in ("0", "-1", "007")] == [0, -1, 7]
    for text in ("", "1.0", "1_0", "\u0661", "--1", " 1", "9" * 19):
        with pytest.raises(DataError, match="must be a whole number"):
            whole_number(text, "x", "here")


@pytest.mark.parametrize("path", sorted((ROOT / "configs/competitions").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_competition_names_a_layout_and_a_format(path):
    competition = load_competition(path.stem)
    assert competition.layout in {"auto", *LAYOUTS} and competition.format in FORMATS
    assert np.isclose(competition.score.rank1 + competition.score.map, 1)


def test_wildlife_names_images_by_their_ids_and_says_what_it_does_not_read(root):
    wildlife(root)
    found = read_layout("wildlife", root)
    assert (found.query.names, found.gallery.names) == (("3", "4"), ("1", "4"))
    assert found.gallery.domains == ("red", "grey") and found.train.names == ("1", "2")
    assert found.labels == {0: "fox", 1: "owl"}
    told = " ".join(str(finding) for finding in found.found)
    assert "metadata.csv has 2 unknown columns: 'orientation', 'date'" in told
    assert "1 query is a gallery image itself (4)" in told


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("image_id,identity,path", "1,fox,a.png", "no column 'split'"),
        (
            "image_id,identity,path,split",
            "1,fox,a.png,holdout",
            "line 2: split 'holdout'; must be one of train, database",
        ),
        ("image_id,identity,path,split", "1,,a.png,database", "line 2: a train row without an identity"),
        ("image_id,identity,path,split", ",fox,a.png,test", "line 2: no image_id"),
        ("image_id,identity,path,split", "1,fox,../a.png,test", "path '../a.png'; must be inside"),
        ("image_id,identity,path,split", "1,fox,a.png,test\n1,fox,b.png,test", "lines 2 and 3: '1' is in one list"),
    ],
)
def test_wildlife_tables_that_are_wrong(root, header, row, told):
    touch(root, {".": ["a.png", "b.png"]})
    (root / "metadata.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(DataError, match=told):
        read_layout("wildlife", root, wanted=())


def test_class_folders_alone_are_split_by_the_command(root, tmp_path, capsys):
    touch(
        root,
        {
            f"{who}": [f"{i}.png" for i in range(4)]
            for who in ("fox", "owl", "cat", "ape", "emu", "gnu", "yak", "elk", "bat", "cow")
        },
    )
    found = read_layout("class_folders", root, wanted=("train",))
    assert len(found.train) == 40 and found.train.names[0] == "ape/0.png" and found.labels[0] == "ape"
    with pytest.raises(DataError, match=r"query list .* is empty; python -m ensemble\.split --data"):
        read_layout("class_folders", root)
    splitting.main(["--data", str(root), "--layout", "class_folders", "--out", str(tmp_path / "held")])
    made = read_layout("table", tmp_path / "held")
    assert made.scorable and not {*made.query.pids} & {*made.train.pids}
    assert {made.labels[pid] for pid in made.query.pids} <= {*found.labels.values()}


def test_class_folders_lack_one_of_three(root):
    touch(root, {"train/fox": ["1.png"], "query/fox": ["2.png"]})
    with pytest.raises(DataError, match="has train, query, and no gallery"):
        read_layout("class_folders", root)


def test_a_plain_list_of_images_and_identities_is_split_by_the_command(root, tmp_path):
    touch(root, {"images": [f"{i}.png" for i in range(30)]})
    lines = [f"{i}.png,{'abcdefghij'[i // 3]},{i // 2}" for i in range(30)]
    (root / "labels.csv").write_text("Image,Identity,sequence\n" + "\n".join(lines) + "\n")
    found = read_layout("labels_csv", root, wanted=("train",))
    assert found.train.paths[0] == root / "images" / "0.png" and len({*found.train.pids}) == 10
    splitting.main(["--data", str(root), "--layout", "labels_csv", "--out", str(tmp_path / "held")])
    made = read_layout("table", tmp_path / "held")
    at = dict(zip(found.train.names, found.train.sequences.tolist(), strict=True))
    for part in (made.train, made.query, made.gallery):
        assert [at[name] for name in part.names] == part.sequences.tolist(), "sequences are kept"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,identity\na.png,fox", "wanted one of image, filename, path"),
        ("image,label,id\na.png,fox,1", "wanted one of identity, ground_truth, label"),
        ("image,identity\na.png,", "line 2: 'a.png' has no identity"),
        ("image,identity\na.png,fox\na.png,owl", "An image has one identity"),
    ],
)
def test_lists_of_labels_that_are_wrong(root, text, told):
    touch(root, {".": ["a.png"]})
    (root / "train.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_layout("labels_csv", root, wanted=())
