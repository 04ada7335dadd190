"""Every format of the table: written, read back, and the same lists; the bytes against what is written here by hand."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, DataError, SubmissionError
from ensemble.results.ranking import Ranking
from models.data.pairs import read_pairs
from submit.faults import find_faults
from submit.formats import FORMATS, format_of, names_of
from submit.formats.base import Answers, Names

QUERY, GALLERY = ("0001.png", "0002.png"), ("a.png", "b.png", "c.png")
PAIRS = (("7", "0002.png", "a.png"), ("x", "0001.png", "c.png"))
RANKING = Ranking(
    QUERY, GALLERY, np.array([[2, 0, 1], [0, 1, 2]]), np.array([[0.25, 0.5, 1.5], [0.0, 3.0, 3.0]]), "by hand"
)


def written(name, ranking=RANKING, pairs=PAIRS):
    form, names = FORMATS[name], Names(ranking.query_names, ranking.gallery_names, pairs)
    tokens = form.tokens(names)
    meant = form.arrange(ranking, names, tokens)
    return form, tokens, meant, form.write(meant)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("naic_json", '{\n"0001.png": ["c.png", "a.png", "b.png"],\n"0002.png": ["a.png", "b.png", "c.png"]\n}\n'),
        ("aicity_txt", "3 1 2\n1 2 3\n"),
        ("prcv_csv", "0001.png,c.png,0.25,a.png,0.5,b.png,1.5\n0002.png,a.png,0,b.png,3,c.png,3\n"),
        ("atrw_json", '[\n{"query_id": 0, "ans_ids": [2, 0, 1]},\n{"query_id": 1, "ans_ids": [0, 1, 2]}\n]\n'),
        ("pairs_csv", "row_id,similarity\n7,1\nx,0.8\n"),
    ],
)
def test_the_bytes(name, text):
    assert written(name)[3].decode() == text


def test_the_bytes_inside_visdas_zip():
    content = written("visda_txt")[3]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["result.txt"]
        assert archive.read("result.txt") == b"0002 0000 0001\n0000 0001 0002\n"
    assert content == written("visda_txt")[3], "the same lists give the same bytes"


@st.composite
def rankings(draw):
    """Any names, any lists: whole ones, so that every format can take them."""
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
    query = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    gallery = draw(st.lists(text, min_size=1, max_size=6, unique=True))
    order = [draw(st.permutations(range(len(gallery)))) for _ in query]
    dist = [sorted(draw(st.floats(0, 10, width=32)) for _ in gallery) for _ in query]
    return Ranking(tuple(query), tuple(gallery), np.array(order), np.array(dist, np.float32), "drawn")


@pytest.mark.parametrize("name", FORMATS)
@given(ranking=rankings())
def test_read_back_is_what_was_written(name, ranking):
    pairs = tuple((f"row {i}", q, ranking.gallery_names[0]) for i, q in enumerate(ranking.query_names))
    form, tokens, meant, content = written(name, ranking, pairs)
    back = form.read(content)
    assert back.faults == ()
    assert back.notes == () or any("\r\n" in n for n in (*ranking.query_names, *ranking.gallery_names))
    assert list(back.answers.queries) == list(meant.queries)
    assert [list(x) for x in back.answers.lists] == [list(x) for x in meant.lists]
    assert find_faults(back, tokens, form.length(tokens, 1000)) == []
    if back.answers.dists is not None:
        np.testing.assert_allclose(back.answers.dists, meant.dists, rtol=1e-6, atol=2e-8)


PIECES = [*'{}[],:"', "0", "1", "2", "3", "-1", "0001", "1e9", "NaN", "null", "PK", "a.png", "b.png", "c.png", "\\"]
PIECES += ['"0001.png"', '"a.png"', '"query_id"', '"ans_ids"', "row_id,similarity"]
SPACES = [" ", "\n", "\r\n", "\0"]
BYTES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(str.encode),
    st.lists(st.sampled_from([*PIECES, *SPACES]), max_size=40).map(lambda pieces: "".join(pieces).encode()),
)


def read_safely(name, content):
    form, tokens, _, right = written(name)
    if form.read(content).answers == form.read(right).answers:
        return
    assert find_faults(form.read(content), tokens, form.length(tokens, 3))


@pytest.mark.parametrize("name", FORMATS)
@given(content=BYTES)
def test_reading_never_raises(name, content):
    """Whatever the bytes are; and what is not the right file never passes."""
    read_safely(name, content)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=10_000, deadline=None)
@given(content=BYTES)
def test_reading_never_raises_ten_thousand_times(name, content):
    read_safely(name, content)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_bytes_never_pass_as_other_lists(name):
    """Every single byte of a right file changed or cut: read as a fault, or as the same lists."""
    form, tokens, meant, content = written(name)
    wrong = [content[:i] + bytes([content[i] ^ bit]) + content[i + 1 :] for i in range(len(content)) for bit in (1, 16)]
    for damaged in [*wrong, *(content[:i] for i in range(len(content) - 1))]:
        back = form.read(damaged)
        if not find_faults(back, tokens, form.length(tokens, 3)):
            lists = [sorted(x) for x in back.answers.lists]
            assert list(back.answers.queries) == list(meant.queries)
            assert lists == [sorted(x) for x in meant.lists]


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "visda_txt"])
@pytest.mark.parametrize("change", ["mark", "crlf"])
def test_windows_files_are_read_with_a_note(name, change):
    form, tokens, meant, content = written(name)
    content = b"\xef\xbb\xbf" + content if change == "mark" else content.replace(b"\n", b"\r\n")
    back = form.read(content)
    assert find_faults(back, tokens, form.length(tokens, 3)) == []
    assert [list(x) for x in back.answers.lists] == [list(x) for x in meant.lists]
    assert ("byte order mark" if change == "mark" else "CR LF") in back.notes[0]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"\x00" * 40])
def test_what_is_no_file_of_the_kind(name, content):
    form, tokens, _, _ = written(name)
    assert find_faults(form.read(content), tokens, form.length(tokens, 3))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{"0001.png": ["a.png"], "0001.png": ["b.png"]}', None, None),
        ('{\n"0001.png": ["a.png", NaN]\n}', 2, "nan (not JSON) in place 2"),
        ('{\n"0001.png": ["a.png", 3]\n}', 2, "a number in place 2"),
        ('{"0001.png": "a.png"}', 1, "found a text"),
        ('{"0001.png": [["a.png"]]}', 1, "a list in place 1"),
        ('["0001.png"]', 1, "wanted one object"),
        ('{"0001.png": ["a.png"],}', 1, "wanted a query's name"),
        ('{"0001.png": ["a.png"]} x', 1, "more text after"),
        ('{\n\n"0001.png" ["a.png"]}', 3, "wanted ':'"),
        ('{"0001.png": ["a.png"', 1, "delimiter"),
        ('{"0001.png": ' + "[" * 100_000, None, "nested too deeply"),
        ('{\n"0001.png": [' + "9" * 5000 + "]}", 2, "a number of thousands of digits"),
    ],
)
def test_json_faults(text, line, words):
    back = FORMATS["naic_json"].read(text.encode())
    if words is None:  # a repeated key is handed on, and the checker says so
        assert list(back.answers.queries) == ["0001.png", "0001.png"]
        return
    assert back.faults[0].line == line and words in back.faults[0].text


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("aicity_txt", "3 1 2\n1 two 3\n", 2, "'two' is not a number"),
        ("aicity_txt", "3 1 2\n1  2 3\n", 2, "'' is not a number"),
        ("aicity_txt", "1 2 3\n-1 2 3\n", 2, "'-1' is not a number"),
        ("aicity_txt", "1 2 3\n\u0661 2 3\n", 2, "is not a number"),
        ("aicity_txt", '{"a": []}', 1, "wanted gallery numbers"),
        ("visda_txt", "0001 0002 0003\n1 2 3\n", None, "1 to 4 digits"),
        ("prcv_csv", "0001.png,a.png,0.5,b.png\n", 1, "pairs of name and distance"),
        ("prcv_csv", "0001.png,a.png,nan\n", 1, "not a finite number"),
        ("prcv_csv", "0001.png,a.png,1_0\n", 1, "not a finite number"),
        ("prcv_csv", "0001.png,a.png,0.5,b.png,0.4\n", 1, "nearest first"),
        ("prcv_csv", 'x,a.png,1\n0001.png,"a.png,0.5\n', 2, "not CSV"),
        ("atrw_json", '[\n{"query_id": "0", "ans_ids": []}]', 2, "query_id is a text"),
        ("atrw_json", '[{"query_id": 0, "ans_ids": [1.0]}]', 1, "a number in place 1"),
        ("atrw_json", '[{"query_id": 0, "query_id": 1, "ans_ids": []}]', 1, "repeated key"),
        ("atrw_json", '[{"query_id": true, "ans_ids": []}]', 1, "true or false"),
        ("atrw_json", '[{"query": 0}]', 1, "keys ['query']"),
        ("atrw_json", '[\n{"query_id": ' + "9" * 5000 + ', "ans_ids": []}]', 2, "a number of thousands of digits"),
        ("prcv_csv", "0001.png,a.png,1\r0002.png,a.png,1\r", 1, "a CR without LF"),
        ("prcv_csv", "0001.png,a.png,1\n0002.png,a.png,1\r", 2, "a CR without LF"),
        ("pairs_csv", "row_id,similarity\r7,1\r", 1, "a CR without LF"),
        ("pairs_csv", "id,similarity\n", 1, "wanted the header row_id,similarity"),
        ("pairs_csv", "row_id,similarity\n7,inf\n", 2, "not a finite number"),
        ("pairs_csv", "row_id,similarity\n7,1,2\n", 2, "3 fields"),
    ],
)
def test_faults_of_the_other_formats(name, text, line, words):
    faults = FORMATS[name].read(text.encode()).faults
    assert faults and faults[0].line == line and words in faults[0].text


def test_visdas_zip_holds_one_file():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sub/result.txt", "0000\n")
    assert "wanted result.txt alone" in FORMATS["visda_txt"].read(packed.getvalue()).faults[0].text
    bare = FORMATS["visda_txt"].read(b"0002 0000 0001\n0000 0001 0002\n")
    assert bare.faults == () and "not a zip" in bare.notes[0]


def test_a_zip_bomb_is_not_unpacked(monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.txt", b"0000 0001 0002\n" * 5_000_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    assert "it is not read" in FORMATS["visda_txt"].read(packed.getvalue()).faults[0].text


def test_a_quote_left_open_is_told_by_its_own_line():
    assert FORMATS["pairs_csv"].read(b'row_id,similarity\n"7,1\n').faults[0].line == 2


def test_atrw_calls_images_by_the_numbers_of_their_names():
    tokens = FORMATS["atrw_json"].tokens(Names(("000012.jpg",), ("000007.jpg", "000012.jpg")))
    assert tokens == Names(("12",), ("7", "12"))
    clash = FORMATS["atrw_json"].tokens(Names(("12.jpg",), ("012.jpg", "7.jpg")))
    assert clash == Names(("0",), ("0", "1")), "12.jpg and 012.jpg are two images: their numbers name neither"


def test_visda_pads_to_the_largest_index():
    many = Answers(["1"], [[str(i) for i in range(24_006)]])
    with zipfile.ZipFile(io.BytesIO(FORMATS["visda_txt"].write(many))) as archive:
        assert archive.read("result.txt").startswith(b"00000 00001 ")


def test_a_pair_without_a_distance_is_refused():
    cut = Ranking(QUERY, GALLERY, RANKING.order[:, :1], RANKING.dist[:, :1], "")
    with pytest.raises(SubmissionError, match=r"row 'x': .*competition.top_k=3"):
        written("pairs_csv", cut, (("x", "0001.png", "a.png"),))
    with pytest.raises(SubmissionError, match=r"the distance of 'who.png'"):
        written("pairs_csv", RANKING, (("x", "who.png", "a.png"),))


def test_given_pairs_are_read_from_the_data_set(tmp_path):
    (tmp_path / "pairs.csv").write_text("row_id,query,gallery\n7,0002.png,a.png\nx,0001.png,c.png\n")
    assert read_pairs(tmp_path) == PAIRS
    assert names_of(FORMATS["pairs_csv"], tmp_path, QUERY, GALLERY).pairs == PAIRS
    assert names_of(FORMATS["naic_json"], tmp_path, QUERY, GALLERY).pairs == ()
    (tmp_path / "pairs.csv").write_text("row_id,query,gallery\n7,0002.png\n")
    with pytest.raises(DataError, match="line 2: 2 fields"):
        read_pairs(tmp_path)
    (tmp_path / "pairs.csv").write_text("a,b\n")
    with pytest.raises(DataError, match="wanted the columns"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path / "none")


SPREADSHEETS = {
    "row_id,similarity\n0,0.5\n1,0.25\n10,0.5\n": "3 of its row ids lack the zeros in front ('0' for '0000'), as",
    "row_id;similarity\n0000;0,5\n": "line 1: wanted the header row_id,similarity; it is 'row_id;similarity', set off",
    ",row_id,similarity\n0,0000,0.5\n": "with the index of a pandas table in front: to_csv(index=False) leaves it out",
    'row_id,similarity\n"0000,0.5"\n': "line 2: 1 fields, the whole line in quotes; wanted row_id and similarity",
}


@pytest.mark.parametrize("text", SPREADSHEETS)
def test_what_spreadsheets_do_to_pairs_is_named(text):
    tokens = Names(("0000", "0001", "0010"), ())
    faults = find_faults(FORMATS["pairs_csv"].read(text.encode()), tokens, 0)
    assert len(faults) == 1 and SPREADSHEETS[text] in str(faults[0])


def test_an_unknown_format():
    with pytest.raises(ConfigError, match="unknown format 'naic'; submit/formats has: naic_json, aicity_txt"):
        format_of("naic")


def test_names_stay_themselves_in_both_unicode_forms():
    """Composed and decomposed letters are two names; a checker that mixed them would pass what a grader refuses."""
    composed, apart = "\u00e9.png", "e\u0301.png"
    ranking = Ranking((composed,), (composed, apart), np.array([[1, 0]]), np.zeros((1, 2)), "")
    _, tokens, _, content = written("naic_json", ranking)
    assert json.loads(content) == {composed: [apart, composed]}
    other = json.dumps({apart: [apart, composed]}).encode()
    faults = [str(f) for f in find_faults(FORMATS["naic_json"].read(other), tokens, 2)]
    assert any("another Unicode normal form" in f for f in faults)
