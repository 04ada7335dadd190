"""A night in small: a few of the kills, stops, flipped bits and full disks of `make soak`, in a process of its own."""

import os
import subprocess
import sys
from functools import cache

import pytest

from tests.conftest import ROOT

FEW = ("steps", "torn", "signals", "crowds")
MORE = ("kills", "resumes", "flips", "cuts", "swaps", "checkpoints", "quotas", "sides")


@cache
def table(promises):
    """Promise -> its row of the table, as the command prints it."""
    argv = [sys.executable, "-m", "tests.soak", *promises, "--quick"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    return dict(zip(promises, cells, strict=True))


@pytest.mark.parametrize("promise", FEW)
def test_a_promise_in_small(promise):
    _, tried, lost, _ = table(FEW)[promise]
    assert int(tried) > 0 and int(lost) == 0


@pytest.mark.slow
@pytest.mark.parametrize("promise", MORE)
def test_another_promise_in_small(promise):
    _, tried, lost, _ = table(MORE)[promise]
    assert int(tried) > 0 and int(lost) == 0
