"""Commands: what --help opens with, and how each way of ending is told to the shell."""

import os
import signal
import subprocess
import sys

import pytest

from configs.console.command import CommandLine, run
from configs.console.signals import Stopped
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
        (KeyboardInterrupt(), 130, "stopped; finished results are kept. To resume:\n  python "),
        (Stopped(signal.SIGTERM, "r50 is saved after epoch 3"), 143, "stopped; r50 is saved after epoch 3; finished"),
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


def test_sigterm_leaves_with_143_and_the_command_that_goes_on():
    code = "import os, signal, sys\nfrom configs.console.command import run\n"
    code += "run(lambda: os.kill(os.getpid(), signal.SIGTERM))"
    done = subprocess.run([sys.executable, "-c", code, "--set", "a b"], capture_output=True, text=True, check=False)
    assert done.returncode == 143 and "Traceback" not in done.stderr
    assert done.stderr.endswith("To resume:\n  python -c --set 'a b'\n")


def test_an_installed_command_goes_on_by_its_own_name(tmp_path):
    script = tmp_path / "reid-build"
    script.write_text(
        "import os, signal\nfrom configs.console.command import run\nrun(lambda: os.kill(os.getpid(), 15))"
    )
    script.chmod(0o755)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, script, "--set", "a b"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.stderr.endswith(f"To resume:\n  {script} --set 'a b'\n")


@pytest.mark.parametrize(
    ("rank", "machines", "said"),
    [("0", "1", "\n  torchrun --nproc-per-node 2 "), ("0", "3", "\n  python "), ("1", "1", "")],
)
def test_one_of_several_processes_says_how_to_go_on(capsys, monkeypatch, rank, machines, said):
    for name, value in (("WORLD_SIZE", "2"), ("GROUP_WORLD_SIZE", machines), ("RANK", rank)):
        monkeypatch.setenv(name, value)

    def main():
        raise Stopped(signal.SIGTERM)

    with pytest.raises(SystemExit) as left:
        run(main)
    err = capsys.readouterr().err
    assert left.value.code == 143 and (said in err if said else err == "")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
