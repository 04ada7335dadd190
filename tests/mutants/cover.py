"""The plugin of the run that maps lines to tests: says which test, or which shared fixture, runs at the moment."""

import json
import mmap
import os
import resource
import time
from pathlib import Path

import pytest

FOLDER = Path(os.environ["MUTANTS_LINES"])
with open(FOLDER / "now", "r+b") as file:
    NOW = memoryview(mmap.mmap(file.fileno(), 8)).cast("q")
names, seconds, needs, failed = ["import"], {}, {}, []


def clock():
    """The processor's time of this process and its children, and the wall's."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(x.ru_utime + x.ru_stime for x in used), time.monotonic()


def during(name):
    """While a generator is held here, lines count for `name`; what it took is its own and nobody else's."""
    if name not in names:
        names.append(name)
    before, begun = NOW[0], clock()
    NOW[0] = names.index(name)
    yield
    took = [now - then for now, then in zip(clock(), begun, strict=True)]
    seconds[name] = [a + b for a, b in zip(seconds.get(name, (0, 0)), took, strict=True)]
    if before:
        seconds[names[before]] = [a - b for a, b in zip(seconds.get(names[before], (0, 0)), took, strict=True)]
    NOW[0] = before


def shared(fixture):
    return f"fixture {fixture.baseid} {fixture.argname}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    there = item._fixtureinfo.name2fixturedefs
    defs = [one for name in item.fixturenames for one in there.get(name, ())]
    needs[item.nodeid] = sorted({shared(one) for one in defs if one.scope != "function"})
    yield from during(item.nodeid)


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef):
    if fixturedef.scope == "function":
        yield
    else:
        yield from during(shared(fixturedef))


def pytest_runtest_logreport(report):
    if report.failed:
        failed.append(report.nodeid)


def pytest_sessionfinish():
    told = {"names": names, "seconds": seconds, "needs": needs, "failed": failed}
    (FOLDER / "tests.json").write_text(json.dumps(told))
