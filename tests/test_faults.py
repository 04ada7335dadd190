"""The checker: what it must say, where, and that it says nothing of a right file."""

import pytest

from submit.faults import counts_from, find_faults, suspicions
from submit.formats import FORMATS
from submit.formats.base import Answers, Fault, Names, ParsedSubmission

NAMES = Names(("q1.png", "q2.png"), tuple(f"g{i}.png" for i in range(5)))
GOOD = {"q1.png": ["g1.png", "g0.png", "g4.png"], "q2.png": ["g2.png", "g3.png", "g4.png"]}


def check(lists, names=NAMES, length=3):
    """Lists as (query, names) pairs on lines from 1."""
    pairs = list(lists.items()) if isinstance(lists, dict) else lists
    sheet = ParsedSubmission(Answers([q for q, _ in pairs], [x for _, x in pairs]), range(1, len(pairs) + 1))
    return [str(fault) for fault in find_faults(sheet, names, length)]


def test_a_right_file_has_no_faults():
    assert check(GOOD) == []
    assert check(dict(reversed(GOOD.items()))) == [], "the order of the queries is free where they are named"


@pytest.mark.parametrize(
    ("lists", "fault"),
    [
        ({"q1.png": GOOD["q1.png"]}, "query 'q2.png' is not answered"),
        (GOOD | {"q3.png": GOOD["q1.png"]}, "line 3: query 'q3.png' is not one of the 2 queries"),
        (
            [*GOOD.items(), ("q1.png", GOOD["q1.png"])],
            "line 3: query 'q1.png' occurs again; its first answer is in line 1",
        ),
        (GOOD | {"q2.png": ["g2.png", "g3.png"]}, "line 2: query 'q2.png': a list of 2; wanted 3"),
        (GOOD | {"q2.png": []}, "line 2: query 'q2.png': a list of 0; wanted 3"),
        (GOOD | {"q2.png": ["g2.png", "g2.png", "g3.png"]}, "line 2: query 'q2.png': 'g2.png' occurs 2 times"),
        (
            GOOD | {"q2.png": ["g2.png", "g2.png", "g2.png", "g4.png", "g4.png"]},
            [
                "line 2: query 'q2.png': a list of 5; wanted 3",
                "line 2: query 'q2.png': 'g2.png' occurs 3 times, and 1 more repeats",
            ],
        ),
        (
            [*GOOD.items(), *[("q1.png", GOOD["q1.png"])] * 2],
            [f"line {i}: query 'q1.png' occurs again; its first answer is in line 1" for i in (3, 4)],
        ),
        (GOOD | {"q2.png": ["g2.png", "g3.png", "g9.png"]}, "line 2: query 'q2.png': 'g9.png' is not in the gallery"),
        (
            GOOD | {"q2.png": ["g2.png", "x.png", "y.png"]},
            "line 2: query 'q2.png': 'x.png' is not in the gallery, nor are 1 more of its names",
        ),
        (
            GOOD | {"q2.png": ["g2.png", "q1.png", "g3.png"]},
            "line 2: query 'q2.png': 'q1.png' is not in the gallery",
        ),
    ],
)
def test_each_fault_is_said_once_and_with_its_line(lists, fault):
    assert check(lists) == ([fault] if isinstance(fault, str) else fault)


def test_where_nothing_could_be_read_that_says_it_all():
    unread = Fault(None, "not JSON")
    assert find_faults(ParsedSubmission(Answers([], []), [], (unread,)), NAMES, 3) == [unread]
    one = ParsedSubmission(Answers(["q1.png"], [GOOD["q1.png"]]), [1], (Fault(2, "not a list"),))
    assert [str(x) for x in find_faults(one, NAMES, 3)] == ["query 'q2.png' is not answered", "line 2: not a list"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("../gallery/g3.png", "names are without folders"),
        ("/data/gallery/g3.png", "names are without folders"),
        ("gallery\\g3.png", "names are without folders"),
        ("G3.PNG", "'g3.png': other capitals"),
        ("g3.png ", "'g3.png': other spaces around it"),
        ("g3.jpg", "'g3.png': another ending"),
        ("g3", "'g3.png': another ending"),
    ],
)
def test_what_was_probably_meant(name, hint):
    (fault,) = check(GOOD | {"q2.png": ["g2.png", name, "g4.png"]})
    assert f"{name!r} is not in the gallery" in fault and hint in fault


def test_unicode_forms_are_told_apart():
    names = Names(("q.png",), ("e\u0301.png",))
    (fault,) = check({"q.png": ["\u00e9.png"]}, names, 1)
    assert "another Unicode normal form" in fault


def test_numbers_say_their_range():
    names = FORMATS["aicity_txt"].tokens(Names(("q",) * 2, tuple(map(str, range(20)))))
    (fault,) = check([("1", ["1", "2", "21"]), ("2", ["4", "5", "6"])], names)
    assert fault == "line 1: query '1': '21' is not in the gallery (they run from 1 to 20)"
    (fault,) = check([("1", ["1", "02", "3"]), ("2", ["4", "5", "6"])], names)
    assert "'02' is not in the gallery (written '2' here, without zeros in front)" in fault


def numbered(name, lists, n):
    form = FORMATS[name]
    text = "".join(" ".join(map(str, x)) + "\n" for x in lists).encode()
    tokens = form.tokens(Names(tuple(map(str, range(len(lists)))), tuple(map(str, range(n)))))
    sheet = form.read(text)
    return suspicions(sheet, tokens), find_faults(sheet, tokens, len(lists[0]))


def test_a_file_counted_from_one_is_suspected_where_the_format_counts_from_zero():
    said, faults = numbered("visda_txt", [[f"{i:04d}" for i in (1, 4, 5)], ["0002", "0003", "0001"]], 5)
    assert faults and "counts from 1" in said[0] and "from 1 to 5" in said[0]


def test_a_file_counted_from_zero_is_suspected_where_the_format_counts_from_one():
    said, faults = numbered("aicity_txt", [[0, 3, 4], [1, 2, 0]], 5)
    assert faults and "counts from 0" in said[0]


def test_a_valid_file_that_never_uses_one_end_is_suspected():
    """Every list stays in range, and yet: all of 200 images are named but the first."""
    lists = [range(1 + 33 * i, 34 + 33 * i) for i in range(6)]
    said, faults = numbered(
        "visda_txt", [[f"{x:04d}" for x in row] for row in lists] + [[f"{x:04d}" for x in range(167, 200)]], 200
    )
    assert not faults and "does it count from 1, not 0?" in said[0]


@pytest.mark.parametrize(("name", "first", "end"), [("visda_txt", 0, 0), ("aicity_txt", 1, 200)])
@pytest.mark.parametrize(("unused", "suspected"), [(1, True), (2, True), (3, False), (60, False)])
def test_a_file_is_suspected_where_it_uses_all_but_a_hundredth_and_not_the_end(name, first, end, unused, suspected):
    """Of 200 images: the end that the other way of counting lacks, and `unused` - 1 in the middle."""
    width = 4 if first == 0 else 1
    numbers = [i for i in range(first, first + 200) if i != end and not 90 < i < 90 + unused]
    lists = [[f"{i:0{width}d}" for i in row] for row in (numbers[:100], numbers[-100:])]
    said, faults = numbered(name, lists, 200)
    assert not faults
    told = f"{end} is one of the {unused} numbers that it never uses: does it count from {1 - first}, not {first}?"
    assert said == ([told] if suspected else [])
    lists[0][3] = f"{end:0{width}d}"
    assert numbered(name, lists, 200)[0] == [], "it uses that end"


def test_one_image_says_nothing_of_how_it_is_counted():
    assert [counts_from(x) for x in (["0"], ["1"], [], ["0", "1"], ["1", "2"], ["1", "3"])] == [None] * 3 + [0, 1, None]


def test_right_files_are_not_suspected():
    assert numbered("aicity_txt", [[1, 2, 5], [3, 4, 1]], 5)[0] == []
    assert numbered("visda_txt", [["0000", "0004"], ["0001", "0002"]], 5)[0] == []
    assert numbered("visda_txt", [["0001", "0002"], ["0003", "0002"]], 50)[0] == [], "too little is used to say"
    named = ParsedSubmission(Answers(["q"], [["1.png"]]), [1])
    assert suspicions(named, Names(("q",), ("1.png", "2.png"))) == []
