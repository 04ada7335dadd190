"""Commands: what --help opens with, and how each way of ending is told to the shell."""

import pytest

from configs.command import CommandLine, run
from configs.errors import ConfigError


@pytest.fixture
def line():
    parser = CommandLine("python -m a.b", "Do a thing.", "  python -m a.b --data DIR\n")
    parser.add_argument("--data", required=True, help="a folder")
    return parser


def test_help_opens_with_the_example(line, capsys):
    with pytest.raises(SystemExit) as left:
        line.parse_args(["--help"])
    out = capsys.readouterr().out
    assert left.value.code == 0
    assert out.startswith("example:\n  python -m a.b --data DIR\n\nDo a thing.\n")
    assert "a folder" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--dta", "x"], "--data"),
        (["--data", "x", "--bad"], "--bad"),
        (["--dat", "x"], "--data"),
        (["--data"], "--data"),
    ],
)
def test_a_mistake_is_one_sentence(line, capsys, argv, words):
    with pytest.raises(SystemExit) as left:
        line.parse_args(argv)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.startswith("error: ") and said.count("\n") == 1
    assert words in said and "python -m a.b --help" in said


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (1, 1, ""),
        (ConfigError("no member 'r5O'"), 2, "error: no member 'r5O'\n"),
        (KeyboardInterrupt(), 130, "stopped"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_exit_status(capsys, ending, status, said):
    def main():
        if isinstance(ending, BaseException):
            raise ending
        return ending

    with pytest.raises(SystemExit) as left:
        run(main)
    err = capsys.readouterr().err
    assert left.value.code == status
    assert err.startswith(said) and "Traceback" not in err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
