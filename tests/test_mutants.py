"""make mutants: which faults a line has, which tests are asked, and a toy package whose tests notice some."""

import textwrap

import pytest

from tests.mutants.__main__ import main
from tests.mutants.chosen import Chooser
from tests.mutants.faults import faults


def faults_of(source):
    return {(f.kind, f.before, f.after) for f in faults("m.py", textwrap.dedent(source).encode())}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("x = a + b", {("operator", "+", "-")}),
        ("x = (a  # a + b\n + b)", {("operator", "+", "-")}),
        ("x = 'ä' + b", {("operator", "+", "-")}),
        ("x = a and b or c", {("operator", "and", "or"), ("operator", "or", "and")}),
        ("x = not a", {("operator", "not a", "(a)")}),
        ("x = a <= b", {("comparison", "<=", "<"), ("comparison", "<=", ">")}),
        ("x = a is  not b", {("comparison", "is  not", "is")}),
        ("x = a < b == c", {("comparison", "<", "<="), ("comparison", "<", ">="), ("comparison", "==", "!=")}),
        ("if a:\n    b = c", {("comparison", "a", "(not (a))")}),
        ("x = 3", {("constant", "3", "4")}),
        ("x = 0.25", {("constant", "0.25", "0.5"), ("constant", "0.25", "0.0")}),
        ("x = True", {("constant", "True", "False")}),
        ("f(a)", {("dropped statement", "f(a)", "pass")}),
        ("a.b = c", {("dropped statement", "a.b = c", "pass")}),
        ("a = a.b", {("dropped statement", "a = a.b", "pass")}),
        ("x = f(a, b, *c)", set()),
        ("x = f(a, b, c)", {("swapped arguments", "a, b", "b, a"), ("swapped arguments", "b, c", "c, b")}),
        ("x = f(a, a)", set()),
    ],
)
def test_the_faults_of_a_line(source, wanted):
    assert faults_of(source) == wanted


def test_an_operator_keeps_its_place_when_it_assigns():
    kinds = {("operator", "+=", "-="), ("dropped statement", "x += y", "pass")}
    assert faults_of("x += y") == kinds


@pytest.mark.parametrize(
    "source",
    [
        '"""3 + 4"""',
        "def f(a: dict[int, 3]) -> Literal[3]:\n    '''3 < 4'''",
        "x: Literal[3]",
        "@cached(3)\ndef f():\n    return x",
        "print(3 + 4)",
        "log.info('%d', 3)",
        "x = f'{3 + 4:>{5}}'",
        "x = zip(a, *b, strict=True)",
        "if TYPE_CHECKING:\n    x = 3",
        "if __name__ == '__main__':\n    f(3)",
    ],
)
def test_words_types_and_banners_are_left_alone(source):
    assert faults_of(source) == set()


def test_of_a_sentence_that_is_raised_the_raising_counts():
    assert faults_of("raise ValueError(3 + 4)") == {("dropped statement", "raise ValueError(3 + 4)", "pass")}


def test_a_fault_is_put_where_it_belongs():
    source = "é = 1\nx = a + b\n"
    (fault,) = (f for f in faults("m.py", source.encode()) if f.kind == "operator")
    assert fault.put_into(source.encode()).decode() == "é = 1\nx = a - b\n" and str(fault).startswith(
        "m.py:2: operator: +"
    )


KERNEL = """LIMIT = 3


@njit
def add(a, b):
    return a + b


@njit
def inner(a):
    return add(a, 1)
"""
USE = """from kernel import LIMIT, inner


def use(a=2):
    if a < LIMIT:
        return inner(a + a)
    return 0


def unused():
    return 1 + 1
"""
CHOICE = {"kernel.py": KERNEL, "use.py": USE}
SEEN = {
    "tests": {
        "t::cheap": [[0.1, 1], []],
        "t::dear": [[9, 10], []],
        "t::kept": [[0.1, 1], ["built"]],
        "t::other": [[0, 0], []],
    },
    "fixtures": {"built": [20, 30]},
    "lines": {"use.py": {"5": ["t::cheap", "t::dear", "built"], "6": ["t::dear"], "7": ["t::cheap", "built"]}},
}


@pytest.mark.parametrize(
    ("file", "line", "wanted"),
    [
        ("use.py", 7, ["t::cheap", "t::kept"]),  # who shares what runs it runs it; the dearer later
        ("use.py", 6, ["t::dear"]),
        ("use.py", 4, ["t::cheap", "t::dear", "t::kept"]),  # a default: whoever runs the function
        ("use.py", 11, []),
        ("kernel.py", 1, ["t::cheap", "t::dear", "t::kept"]),  # whoever runs a line that names it
        ("kernel.py", 6, ["t::dear"]),  # machine code, named by machine code that is named where it is seen to run
    ],
)
def test_who_is_asked(tmp_path, file, line, wanted):
    for name, text in CHOICE.items():
        (tmp_path / name).write_text(text)
    chooser = Chooser(tmp_path, [*CHOICE], SEEN)
    fault = next(f for f in faults(file, CHOICE[file].encode()) if f.line == line)
    assert [test for test, _ in chooser.in_order(fault, 100)[0]] == wanted


def test_what_no_budget_is_left_for(tmp_path):
    for name, text in CHOICE.items():
        (tmp_path / name).write_text(text)
    fault = next(f for f in faults("use.py", CHOICE["use.py"].encode()) if f.line == 4)
    chosen, left = Chooser(tmp_path, [*CHOICE], SEEN).in_order(fault, 1)
    assert chosen == [("t::cheap", 1)] and left == 2


TOY = {
    "toy/__init__.py": "",
    "toy/sums.py": """
        LIMIT = 3

        def total(values):
            start = 0
            for value in values:
                start += value if value > LIMIT else -value
            return start

        def slack(x):
            return x + 0.5

        def countdown(n):
            while n > 0:
                n = n - 1
            return n
        """,
    "toy/__main__.py": "import sys\nfrom toy.sums import slack\nprint(slack(float(sys.argv[1])) > 1)\n",
    "tests/test_toy.py": """
        import subprocess, sys
        from toy.sums import countdown, total

        def test_total():
            assert total([4]) == 4 and total([3]) == -3

        def test_countdown():
            assert countdown(3) == 0

        def test_command():
            done = subprocess.run([sys.executable, "-m", "toy", "3"], capture_output=True, text=True)
            assert done.stdout == "True\\n"
        """,
}


def test_a_toy_package(tmp_path, capsys, monkeypatch):
    """What no test asserts survives, though a command runs it; a loop without end is a fault that is noticed."""
    for name, text in TOY.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.py")}
    ask = ["--root", str(tmp_path), "--packages", "toy", "--jobs", "1", "--grace", "4"]
    left = main([*ask, "--only", "operator"])
    out = capsys.readouterr().out
    assert [(f.line, f.before) for f in left] == [(11, "+")] and "[1 tests, 0 more left out]" in out
    assert "operator: -  ->  +  [timeout by tests/test_toy.py::test_countdown]" in out
    assert "operator: -value  ->  (value)  [killed by tests/test_toy.py::test_total]" in out
    assert {p: p.read_bytes() for p in before} == before
    monkeypatch.setattr("tests.mutants.__main__.Workplace.cover", lambda *_: pytest.fail("the lines were known"))
    assert main([*ask, "--only", "sums.py:2"]) == []
