"""Labels and cameras that are texts: whatever is shown or written calls them so, never by the number inside."""

import csv
import re

import pytest

from configs.console.progress import Progress
from configs.store.store import Store
from ensemble import doctor, split
from submit.report.build_report import make_report
from tests.report_case import small_build
from tests.tables import write_table

HEADER = "label,path,split,is_query,is_gallery,camid"
KINDS = ("Granny-Smith", "Cox Orange", "0042", "Gala")


@pytest.fixture
def apples(tmp_path):
    """Four sorts, one of them also in the test; every file is empty, so that all are equal."""
    rows = [f"{kind},{i}-{cam}.jpg,train,,,{cam}" for i, kind in enumerate(KINDS) for cam in ("hall", "yard")]
    rows += ["Gala,q.jpg,test,1,0,hall", "Gala,g.jpg,test,0,1,yard"]
    return write_table(tmp_path / "apples", HEADER, rows)


def test_the_doctor_calls_labels_as_the_table_does(apples, capsys):
    doctor.main(["--data", str(apples), "--layout", "table", "--jobs", "1"])
    said = capsys.readouterr().out
    (shared,) = (line for line in said.splitlines() if "in train and in the test" in line and "identity" in line)
    assert "Gala" in said[said.index(shared) : said.index(shared) + len(shared) + 40]
    assert not re.search(r"\(id \d\)", said)


def test_a_split_is_written_with_the_labels_it_was_read_with(apples, tmp_path):
    out = tmp_path / "held"
    split.main(
        ["--data", str(apples), "--competition", "own", "--layout", "table", "--out", str(out), "--share", "0.5"]
    )
    with open(out / "df.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} - {""} <= set(KINDS) and {row["camid"] for row in rows} == {"hall", "yard"}
    for row in rows:
        assert row["label"] in ("", KINDS[int(row["path"].split("-")[0])])


@pytest.fixture
def report(tmp_path):
    def write():
        store = Store(tmp_path / "runs", say=lambda text: None)
        return make_report(store, None, tmp_path / "report", Progress(quiet=True), "cpu")

    small_build(tmp_path)
    return write


def test_the_report_calls_persons_as_the_table_does(report, tmp_path):
    written = report()
    page = (written.folder / "index.html").read_text(encoding="utf-8")
    assert re.search(r"person p000\d\d", page) and not re.search(r"person \d", page)
    assert re.search(r"#person=p000\d\d\"", page)
    pairs = (written.folder / "pairs.html").read_text(encoding="utf-8")
    assert re.search(r"person p000\d\d", pairs) and not re.search(r"person \d", pairs)
    assert '"persons":{"0":"p00000",' in (written.folder / "data" / "test" / "index.js").read_text(encoding="ascii")


def test_a_table_that_numbers_otherwise_now_names_nobody(report, tmp_path):
    """A label more, in front of all others in the alphabet: the numbers of the build are not the table's any more."""
    table = tmp_path / "data" / "df.csv"
    (tmp_path / "data" / "new.png").write_bytes((tmp_path / "data" / "kept-0.png").read_bytes())
    table.write_text(table.read_text(encoding="utf-8") + "a,new.png,train,,,1\n", encoding="utf-8")
    page = (report().folder / "index.html").read_text(encoding="utf-8")
    assert re.search(r"person \d", page) and "person p0" not in page and "person a" not in page
