"""A night in small: a few of the kills, stops, flipped bits and full disks of `make soak`, in a process of its own."""

from functools import cache

import pytest

FEW = ("steps", "torn", "signals", "crowds")
MORE = ("kills", "resumes", "flips", "cuts", "swaps", "checkpoints", "quotas", "sides")


@pytest.fixture(scope="module")
def table(forked):
    """table(promises): promise -> its row of the table, as the command prints it."""

    @cache
    def rows(promises):
        done = forked.run("-m", "tests.soak", *promises, "--quick")
        assert done.returncode == 0, done.stderr[-3000:]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
        return dict(zip(promises, cells, strict=True))

    return rows


@pytest.mark.parametrize("promise", FEW)
def test_a_promise_in_small(promise, table):
    _, tried, lost, _ = table(FEW)[promise]
    assert int(tried) > 0 and int(lost) == 0


@pytest.mark.slow
@pytest.mark.parametrize("promise", MORE)
def test_another_promise_in_small(promise, table):
    _, tried, lost, _ = table(MORE)[promise]
    assert int(tried) > 0 and int(lost) == 0
