"""A store that one may read and not write, as a shared disk has it: what only asks of a build works, and says so."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

ASKING = ("submit.make", "submit.report", "ensemble.worth")
NOTE = "so new results are not saved there"


@pytest.fixture(scope="module")
def lent(tiny_build, tmp_path_factory):
    """A copy of a build's results alone, nobody may write to."""
    runs = tmp_path_factory.mktemp("lent") / "runs"
    for key in (*tiny_build.made, "last.json"):
        (runs / key).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (tiny_build.runs / key).is_dir() else shutil.copy)(tiny_build.runs / key, runs / key)
    folders = [runs, *(p for p in runs.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    yield runs
    for folder in folders:
        folder.chmod(0o755)


def ask(module, *argv):
    """Run it as somebody whom permissions bind: root without root's powers is one."""
    bound = ["setpriv", "--bounding-set", "-all"] if os.geteuid() == 0 else []
    if bound and shutil.which("setpriv") is None:
        pytest.skip("root ignores permissions, and there is no setpriv (util-linux)")
    command = [*bound, sys.executable, "-m", module, *map(str, argv)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.stderr.startswith("setpriv"):
        pytest.skip(f"powers cannot be given up here: {done.stderr.strip()}")
    return done


@pytest.mark.parametrize("module", ASKING)
def test_a_store_that_cannot_be_written_is_read(module, lent, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in lent.rglob("*")}
    out = ("--out", tmp_path / "out") if module.startswith("submit") else ()
    done = ask(module, "--runs", lent, *out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NOTE) == 1 and str(lent) in done.stderr
    assert {p: p.stat().st_mtime_ns for p in lent.rglob("*")} == before
    assert not out or any(out[1].iterdir())


def test_a_build_into_it_is_refused_in_a_sentence(lent, tiny_build):
    """A build is there to be kept: the same store is no place for one."""
    argv = [lent if part == str(tiny_build.runs) else part for part in tiny_build.argv]
    done = ask("ensemble.build", *argv, "--set", "recipe.seed=1")
    assert done.returncode == 2 and "Traceback" not in done.stderr and NOTE not in done.stderr
    assert "cannot be written (Permission denied)" in done.stderr
