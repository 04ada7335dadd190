"""A night in small: a few of the kills, stops, flipped bits and full disks of `make soak`, in a process of its own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FEW = ("kills", "steps", "torn", "signals", "resumes", "flips", "cuts", "swaps", "checkpoints", "crowds", "quotas")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table():
    """Promise -> its row of the table, as the command prints it."""
    argv = [sys.executable, "-m", "tests.soak", *FEW, "--quick"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    return dict(zip(FEW, cells, strict=True))


@pytest.mark.parametrize("promise", FEW)
def test_a_promise_in_small(table, promise):
    _, tried, lost, _ = table[promise]
    assert int(tried) > 0 and int(lost) == 0
