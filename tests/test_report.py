"""submit.report: its numbers by the oracles, its files, its escaping; what it does without labels or pictures."""

import fcntl
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from configs.console.progress import Progress
from configs.errors import ResultError
from configs.store.store import Store
from models.data.sheets.thumbnails import PER_SHEET, Tile, tile_of, write_sheets
from submit.report import __main__ as command
from submit.report.build_report import write_report
from submit.report.page_data import packed, write_piece
from submit.report.query_results import inquire, places
from submit.report.report_input import open_subject
from submit.report.thumbnails import gallery_places
from tests import oracles
from tests.report_case import HOSTILE, small_build

QUIET = Progress(quiet=True)


def silent(text):
    """For a store that has nothing to tell."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return small_build(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    return write_report(Store(runs, silent), None, tmp_path_factory.mktemp("out") / "report", QUIET, "cpu")


@pytest.fixture(scope="module")
def asked(runs):
    subject = open_subject(Store(runs, silent), None)
    return subject, subject.trials[0], inquire(subject, subject.trials[0], QUIET)


def matrices(trial):
    """Distances of every system, (S, Q, G) float64, by the oracles."""
    feats, n = [np.asarray(b.feats, np.float64) for b in trial.banks], trial.banks[0].n_query
    alone = [oracles.fused_distance([f], [1.0]) for f in feats]
    whole = oracles.fused_distance(feats, [1.0] * len(feats))
    return np.stack([*(d[:n, n:] for d in alone), whole[:n, n:], oracles.k_reciprocal(whole, n)])


def test_average_precision_of_every_system_is_the_oracles(asked):
    _, trial, found = asked
    assert trial.names == ["r50", "ibn_a", "sum", "sum, re-ranked"] and (trial.before, trial.after) == (2, 3)
    for system, dist in enumerate(matrices(trial)):
        labels = trial.query.pids, trial.gallery.pids, trial.query.camids, trial.gallery.camids
        score = oracles.evaluate(dist, *labels, ap="market", junk="market")
        assert np.nanmean(found.ap[system]) == pytest.approx(score["map"], abs=1e-6)
        assert np.nanmean(found.hit[system]) == pytest.approx(score["rank1"], abs=1e-6)


def test_lists_and_ranks_leave_junk_out_and_are_those_of_sorting(asked):
    _, trial, found = asked
    q, g = trial.query, trial.gallery
    junk = (q.pids[:, None] == g.pids) & (q.camids[:, None] == g.camids)
    assert junk.sum() > 5 and (found.junk == junk.sum(axis=1)).all()
    for system, dist in enumerate(matrices(trial)):
        for i in range(len(q)):
            kept = [j for j in np.argsort(dist[i], kind="stable") if not junk[i, j]]
            rank = {int(j): at for at, j in enumerate(kept, start=1)}
            if system == trial.after:
                assert [int(j) for j in found.top[i]] == [int(j) for j in kept[:20]]
            assert [int(r) for r in found.ranks[system, i]] == [rank[int(j)] for j in found.top[i]]
            right = found.right[found.right_ptr[i] : found.right_ptr[i + 1]]
            assert sorted(right) == [j for j in range(len(g)) if g.pids[j] == q.pids[i] and not junk[i, j]]
            told = found.right_ranks[system, found.right_ptr[i] : found.right_ptr[i + 1]]
            assert [int(r) for r in told] == [rank[int(j)] for j in right]


def test_agreement_is_the_share_of_the_first_ten(asked):
    _, trial, found = asked
    one, other, *_ = matrices(trial)
    q, g = trial.query, trial.gallery
    junk = (q.pids[:, None] == g.pids) & (q.camids[:, None] == g.camids)
    firsts = []
    for dist in (one, other):
        order = np.argsort(np.where(junk, np.inf, dist), axis=1, kind="stable")
        firsts.append([set(row[:10]) for row in order])
    assert found.agreement() == pytest.approx([len(a & b) / 10 for a, b in zip(*firsts, strict=True)])


def test_histograms_hold_every_pair_once(asked):
    _, trial, found = asked
    pairs = len(trial.query) * len(trial.gallery) - int(found.junk.sum())
    assert found.histogram.sum(axis=(1, 2)).tolist() == [pairs, pairs]
    assert found.histogram[0, 1].sum() == len(found.right)


def test_places_break_ties_by_index():
    row = np.array([0.5, 0.25, 0.5, 0.25, 0.75, 0.5], np.float32)
    order = np.argsort(row, kind="stable")
    wanted = {int(j): at for at, j in enumerate(order, start=1)}
    columns = np.array([5, 0, 3, 1, 2, 4], np.int32)
    assert places(row, np.sort(row), columns).tolist() == [wanted[int(j)] for j in columns]


def test_sheets_hold_each_picture_at_its_place(tmp_path):
    colours = [(i * 3, 255 - i * 3, 90) for i in range(PER_SHEET + 3)]
    paths = []
    for i, colour in enumerate(colours):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (20, 40), colour).save(paths[-1])
    paths[7] = None
    paths[9].write_bytes(b"not a picture")
    tile = tile_of(paths, 30)
    assert tile == Tile(15, 30)
    assert write_sheets(paths, tile, tmp_path / "sheets", "q", lambda n: None) == [7, 9]
    assert sorted(p.name for p in (tmp_path / "sheets").iterdir()) == ["q-0000.webp", "q-0001.webp"]
    for i in (0, 8, 63, 64, 66):
        with Image.open(tmp_path / "sheets" / f"q-{i // 64:04d}.webp") as sheet:
            at = i % 64
            pixel = sheet.convert("RGB").getpixel((at % 8 * 15 + 7, at // 8 * 30 + 15))
        assert np.abs(np.subtract(pixel, colours[i])).max() < 16


def test_gallery_images_lie_in_the_order_in_which_lists_show_them():
    assert gallery_places(np.array([[4, 1], [1, 3], [-1, -1]], np.int32), 6).tolist() == [3, 1, 4, 2, 0, 5]


def test_pieces_are_scripts_that_read_back(tmp_path):
    names = [*HOSTILE, "a\u2028b\nc"]
    write_piece(tmp_path, "test/x", {"names": names, "n": packed(np.array([1, 70000]), "i4")})
    text = (tmp_path / "test" / "x.js").read_bytes()
    told = re.fullmatch(rb'report\.put\("test/x",(.*)\);\n', text, re.S)
    assert json.loads(told[1])["names"] == names and text.isascii() and text.count(b"\n") == 1


class Reader(HTMLParser):
    """Addresses that a page names, the tags it uses, and its text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.text, self.handlers = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("href", "src", "action", "srcset", "poster") and v]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data):
        self.text.append(data)


def test_every_page_needs_only_its_own_folder(report):
    pages = sorted(report.glob("*.html"))
    assert {"index.html", "queries.html", "pairs.html", "build.html"} <= {p.name for p in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        read = Reader(text)
        for link in read.links:
            if not link.startswith(("data:", "#")):
                assert (report / re.split("[#?]", link)[0]).is_file(), (page.name, link)
        used = re.findall(r"url\('?([^)']+)'?\)", text)
        assert all((report / u).is_file() for u in used if not u.startswith("#"))
        assert "Content-Security-Policy" in text and read.handlers == []
    for asset in (report / "assets").iterdir():
        assert not re.search(r"https?:|@import|fetch\(|XMLHttp", asset.read_text(encoding="utf-8")), asset


def test_hostile_names_are_text(report):
    for page in report.glob("*.html"):
        read = Reader(page.read_text(encoding="utf-8"))
        assert "img" not in read.tags and read.handlers == []
        assert read.tags.count("script") == page.read_text(encoding="utf-8").count("<script src=")
    pairs = Reader((report / "pairs.html").read_text(encoding="utf-8"))
    shown = "".join(pairs.text)
    assert sum(h in shown for h in HOSTILE) >= 2 and "<script>49" not in shown


def test_the_overview_tells_the_scores_of_submit_make(runs, report):
    scores = next((runs / "scores").glob("test-*/scores.json"))
    text = (report / "index.html").read_text(encoding="utf-8")
    for row in json.loads(scores.read_text()):
        assert row["name"] in text and f">{100 * row['total']:.1f}<" in text


def test_the_command_says_where_it_wrote_and_writes_over_a_report_only(runs, tmp_path, capsys):
    out = tmp_path / "report"
    command.main(["--runs", str(runs), "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "index.html")
    command.main(["--runs", str(runs), "--out", str(out)])
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("keep me")
    with pytest.raises(ResultError, match="not a report"):
        command.main(["--runs", str(runs), "--out", str(other)])
    assert (other / "letter.txt").read_text() == "keep me" and list(tmp_path.glob(".*.part")) == []


def test_two_writers_of_one_report_do_not_take_each_others_pages(runs, tmp_path):
    """The second is told; what a killed one left is no hindrance."""
    part = tmp_path / ".report.part"
    (part / "left").mkdir(parents=True)
    store = Store(runs, say=lambda text: None)
    handle = os.open(part, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ResultError, match="another process writes this report; wait for it"):
        write_report(store, None, tmp_path / "report", Progress(quiet=True), "cpu")
    assert (part / "left").is_dir() and not (tmp_path / "report").exists()
    os.close(handle)
    folder = write_report(store, None, tmp_path / "report", Progress(quiet=True), "cpu")
    assert (folder / "index.html").is_file() and not (folder / "left").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_without_labels_nothing_is_right_or_wrong(tmp_path):
    runs = small_build(tmp_path, labelled=False)
    out = write_report(Store(runs, silent), None, tmp_path / "report", QUIET, "cpu")
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "no identities" in text and "answer right" not in text and "Members disagree most" in text
    index = (out / "data" / "test" / "index.js").read_text()
    assert '"labelled":false' in index


@pytest.mark.parametrize("changes", [{"members": ("r50",)}, {"rerank": False}, {"members": ("r50",), "rerank": False}])
def test_fewer_systems_make_a_report_too(tmp_path, changes):
    runs = small_build(tmp_path, **changes)
    out = write_report(Store(runs, silent), None, tmp_path / "report", QUIET, "cpu")
    assert (out / "queries.html").is_file()
    text = (out / "index.html").read_text(encoding="utf-8")
    assert ("Re-ranking raised" in text) == ("rerank" not in changes)
    assert ("Worth of each member" in text) == ("members" not in changes)


def test_without_the_pictures_the_numbers_stay(tmp_path):
    runs = small_build(tmp_path)
    shutil.rmtree(tmp_path / "data")
    out = write_report(Store(runs, silent), None, tmp_path / "report", QUIET, "cpu")
    assert "no pictures are shown" in (out / "index.html").read_text() and not (out / "sprites").exists()
