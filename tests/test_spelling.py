"""A name that is there under another spelling is found, or said: slashes, capitals, Unicode forms, .jpeg for .jpg."""

import unicodedata

import numpy as np
import pytest

from configs.errors import DataError
from ensemble.features.external.match_names import Image, align
from models.data.layouts import read_layout, settle_layout
from models.data.layouts.detect import find_root
from models.data.pairs import check_pairs
from models.data.skip import leave_out
from models.data.spelling import find_file, otherwise
from models.data.split import content_digest
from tests import test_layouts
from tests.tables import write_table

HEADER = "label,path,split,is_query,is_gallery"
COMPOSED, APART = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
PAIRS = [
    ("IMG_1.JPG", "img_1.jpg"),
    ("a.jpeg", "a.jpg"),
    ("a.JPEG", "A.jfif"),
    ("a.tif", "a.TIFF"),
    (COMPOSED, APART),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_the_same_name(one, other):
    assert otherwise(one, [other, "b.jpg"]) == other and otherwise(other, [one]) == one
    assert otherwise(one, [one]) is None and otherwise(one, ["b.jpg"]) is None
    assert otherwise(one, [other, other.swapcase() + "x", other.upper()]) in (None, other)


@pytest.mark.parametrize(("written", "there"), [*PAIRS, ("p\\x.jpg", "p/x.jpg")])
def test_a_table_finds_its_pictures(tmp_path, written, there):
    root = write_table(tmp_path / "t", HEADER, [f"fox,{there},test,1,0", "fox,g.jpg,test,0,1"])
    (root / "df.csv").write_text("\n".join([HEADER, f"fox,{written},test,1,0", "fox,g.jpg,test,0,1"]), encoding="utf-8")
    found = read_layout("table", root, wanted=("query", "gallery"))
    assert found.query.names == (there.rpartition("/")[2],) and found.query.paths == (root / there,)
    (told,) = map(str, found.found)
    assert told.startswith("note: 1 image file has another spelling than in the table (") and repr(there) in told


def test_a_table_leaves_what_is_unclear_or_not_there(tmp_path):
    root = write_table(tmp_path / "t", HEADER, ["fox,A.jpg,test,1,0", "fox,a.JPG,test,0,1"])
    lines = [HEADER, "fox,a.jpg,test,1,0", "fox,none.jpg,test,0,1"]
    (root / "df.csv").write_text("\n".join(lines))
    found = read_layout("table", root, wanted=("query", "gallery"))
    assert found.query.names == ("a.jpg",) and not [f for f in found.found if "spelling" in f.text]


@pytest.mark.parametrize("path", ["..\\x.jpg", "a\\..\\..\\x.jpg", "\\x.jpg"])
def test_the_other_slash_leads_nowhere_either(tmp_path, path):
    (tmp_path / "df.csv").write_text(f"{HEADER}\nfox,{path},test,1,0\n")
    with pytest.raises(DataError, match=r"line 2: path .*; must be inside"):
        read_layout("table", tmp_path, wanted=())


def test_lists_say_what_is_there(tmp_path):
    (tmp_path / "n").mkdir()
    test_layouts.naic2020(tmp_path / "n")
    (tmp_path / "n/train/label.txt").write_text("1.PNG:4\n")
    with pytest.raises(DataError, match=r"line 1: '1\.PNG' is not in .*images \(there is '1\.png'\)\. Restore it"):
        read_layout("naic2020", tmp_path / "n")
    (tmp_path / "pairs.csv").write_text("row_id,query,gallery\n1,a.JPG,b.jpg\n")
    with pytest.raises(DataError, match=r"'a\.JPG' is not in the query list of the data set \(there is 'a\.jpg'\)"):
        check_pairs(tmp_path, ["a.jpg"], ["b.jpg"])


def test_a_file_that_is_not_there_says_what_is(tmp_path):
    root = write_table(tmp_path / "t", HEADER, ["fox,a.jpg,test,1,0", "fox,g.jpg,test,0,1"])
    query = read_layout("table", root, wanted=()).query
    (root / "a.jpg").rename(root / "a.JPEG")
    with pytest.raises(DataError, match=r"a\.jpg: cannot be read \(No such file or directory; there is 'a\.JPEG'\)"):
        content_digest(query, n_jobs=1)
    assert find_file(root / "none.jpg") is None and find_file(root / "none/a.jpg") is None


def test_an_entry_of_skip_says_what_is_there(tmp_path):
    root = write_table(tmp_path / "t", HEADER, ["fox,a.jpg,test,1,0", "fox,g.jpg,test,0,1"])
    found = leave_out(read_layout("table", root, wanted=()), {"query": ["A.JPG"]})
    assert "without an image (A.JPG (there is 'a.jpg')): it leaves nothing out" in str(found.found[-1])


def test_members_from_outside_are_matched(tmp_path):
    wanted = [Image("a.jpg", tmp_path / "q/a.jpg"), Image(COMPOSED, tmp_path / "q" / COMPOSED)]
    found = align("m.npz", [f"x\\{APART}", "x\\A.JPEG"], wanted)
    assert found.rows.tolist() == [1, 0] and found.how.startswith("whatever their spelling")
    assert align("m.npz", ["a.jpg", COMPOSED], wanted).how == ""
    np.testing.assert_array_equal(align("m.npz", [COMPOSED, "a.jpg"], wanted).rows, [1, 0])


def test_members_from_outside_are_matched_by_their_last_folder_where_names_repeat(tmp_path):
    """The folders above it are others here and there."""
    wanted = [Image(f"day/{side}/{APART}", tmp_path / side / APART) for side in ("left", "right")]
    found = align("m.npz", [f"night/RIGHT/{COMPOSED}", f"night/LEFT/{COMPOSED}"], wanted)
    assert found.rows.tolist() == [1, 0] and found.how == "whatever their spelling, with their last folder"


# ------------------------------------------------------------------------------------------- a folder in the folder


@pytest.mark.parametrize("name", ["msmt17", "market1501", "naic2020", "visda2020", "table"])
@pytest.mark.parametrize("auto", [True, False])
def test_an_archive_that_unpacked_itself_into_a_folder_is_looked_into(tmp_path, name, auto):
    inner = tmp_path / "MSMT17_V2" / "MSMT17_V2"
    inner.mkdir(parents=True)
    test_layouts.MAKERS[name](inner)
    outer = tmp_path / "MSMT17_V2"
    if auto:
        layout, why = settle_layout("auto", outer)
        assert layout == name and why.endswith("in MSMT17_V2/")
    found = read_layout(name, outer, wanted=("query", "gallery"))
    assert found.query.names == read_layout(name, inner, wanted=("query", "gallery")).query.names
    assert any(f"read from {inner}" == f.text for f in found.found)


def test_two_such_folders_are_not_chosen_between(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        test_layouts.MAKERS["market1501"](tmp_path / name)
    assert find_root("market1501", tmp_path) == tmp_path
    with pytest.raises(DataError, match=r"no layout is recognised; the folder has a/, b/"):
        settle_layout("auto", tmp_path)
