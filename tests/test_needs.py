"""What a build will need, in words and sums, and the refusal where the disk cannot hold it."""

import re
import shutil

import pytest

from configs.artifact import Address, Store
from configs.errors import ResultError
from ensemble import needs as module
from ensemble.items import Item
from ensemble.needs import Need, Needs, amount, check_room


def need(kind, disk, seconds=60.0, measured=True, kept=False):
    return Need(Item(Address(kind, "x", {"disk": disk}), "r50", 10, kept), disk, seconds, measured, 10)


def test_what_is_kept_needs_nothing():
    needs = Needs((need("members", 5_000_000), need("members", 7_000_000, kept=True), need("features", 2000)), 100, 0)
    assert needs.disk == 5_002_100 and needs.seconds == 120
    assert str(needs) == "disk: 5 MB (members 5 MB, features 2 KB, while it runs 100 B)\ntime: some 2 min 00 s"
    assert str(Needs((need("members", 1, kept=True),), 100, 5)) == "nothing to make"


def test_time_is_not_guessed():
    needs = Needs((need("members", 5, measured=False), need("features", 5)), 0, 2_000_000_000)
    assert needs.seconds is None and "time: not known yet" in str(needs)
    assert "memory: some 2 GB; this machine has " in str(needs)


def test_a_build_that_the_disk_cannot_hold_is_refused(tmp_path, monkeypatch):
    store, needs = Store(tmp_path, lambda text: None), Needs((need("members", 5_000_000),), 1_000_000, 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=6_000_000))
    check_room(store, needs)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=5_999_999))
    with pytest.raises(ResultError, match="needs 6 MB on the disk and 6 MB are free"):
        check_room(store, needs)


SIZE = re.compile(r"(\w+) ([\d.]+) (B|KB|MB|GB)")
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}


def test_bytes_on_the_disk_are_as_forecast(tiny_build):
    """What the finished build's files take, a kind after another; `while it runs` has gone again."""
    (line,) = [x for x in tiny_build.err.splitlines() if x.startswith("disk: ")]
    told = {kind: float(n) * UNITS[unit] for kind, n, unit in SIZE.findall(line.partition("(")[2])}
    assert set(told) == {"images", "members", "features", "neighbours", "rankings", "runs"}
    del told["runs"]
    for kind, forecast in told.items():
        taken = sum(p.stat().st_size for p in (tiny_build.runs / kind).glob("*/*"))
        spare = 4000 * len(list((tiny_build.runs / kind).glob("*")))  # manifests are reckoned as the longest are
        assert 0.99 * taken <= forecast <= 1.02 * taken + spare, kind


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (999_600, "1 MB"), (2.5e9, "2.5 GB"), (3e12, "3 TB")],
)
def test_amount(size, text):
    assert amount(size) == text
