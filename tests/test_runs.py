"""The list of a store, and what is removed from it: never what a recorded build was made from."""

import json
import os
import re
import shutil
import time

import pytest

from configs.console.event_log import EventLog
from configs.errors import ResultError
from configs.store.store import Address, Store
from ensemble import build, runs, verify
from ensemble.runs import at_work, results_of
from submit import make


@pytest.fixture
def store(tiny_build, tmp_path):
    """A copy of what the build itself made, and in it a result that nothing names and a training that was killed."""
    made_since = shutil.ignore_patterns("scores", "worth", "tuned", "inquiries", "maps", "looks")
    root = shutil.copytree(tiny_build.runs, tmp_path / "runs", ignore=made_since)
    store = Store(root, lambda text: None)
    store.get(Address("members", "old", {"x": 1}), lambda folder: (folder / "x").write_bytes(b"x" * 5000))
    (root / "members" / ".b-0123456789ab.part" / "resume").mkdir(parents=True)
    (root / "members" / ".b-0123456789ab.part" / "resume" / "state.json").write_text("{}")
    return store


def prune(capsys, store, *argv):
    capsys.readouterr()
    runs.main(["--runs", str(store.root), "--prune", *argv])
    return capsys.readouterr().out.splitlines()[-1]


def test_everything_of_the_last_build_is_known_as_used(store):
    """The record and nine results behind it: three lists of images, two members, two banks, neighbours, a ranking."""
    used = {f"{r.path.parent.name}/{r.path.name}": r.used for r in results_of(store)}
    assert sorted(used.values()) == ["interrupted", *["last build"] * 10, "no build"]
    assert used[next(k for k in used if k.startswith("members/old-"))] == "no build"


def test_the_list_fits_a_screen_and_adds_up(store, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs.main(["--runs", str(store.root)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kind", "result", "size", "age", "used", "by"] and max(map(len, lines)) <= 80
    assert lines[-1].startswith("12 results, ")
    assert any(line.split()[0] == "members" and "old-" in line and line.rstrip().endswith("no build") for line in lines)


def test_a_file_of_a_clock_that_is_ahead_is_of_no_negative_age(store, capsys):
    (old,) = store.root.glob("members/old-*/manifest.json")
    os.utime(old, (time.time() + 7200,) * 2)
    runs.main(["--runs", str(store.root)])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if " old-" in line)
    assert re.search(r" (1 h 59|2 h 00) min ahead ", line)


def test_without_a_yes_nothing_is_removed(store, capsys, monkeypatch):
    before = sorted(store.root.rglob("*"))
    assert "nothing was removed: add --yes" in prune(capsys, store)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert prune(capsys, store) == "nothing was removed"
    assert sorted(p for p in store.root.rglob("*") if ".locks" not in p.parts) == [
        p for p in before if ".locks" not in p.parts
    ]


def test_what_no_build_uses_goes_and_the_build_stands(store, tiny_build, tmp_path, capsys):
    assert prune(capsys, store, "--yes").startswith("removed 2 results")
    assert not list(store.root.glob("members/*old*")) and not list(store.root.glob("members/.*"))
    assert prune(capsys, store, "--yes").startswith("nothing to remove")
    make.main(["--runs", str(store.root), "--out", str(tmp_path / "submission")])
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(store.root)
    capsys.readouterr()
    build.main([*argv, "--dry-run"])
    assert "nothing to make" in capsys.readouterr().err


def test_what_somebody_works_on_stays(store, capsys):
    with store._lock("members", next(store.root.glob("members/old-*")).name):
        assert prune(capsys, store, "--yes").endswith("1 are in use and stay")
    assert list(store.root.glob("members/old-*"))


def test_a_build_that_has_not_ended_forbids_it(store, capsys, monkeypatch):
    assert at_work(store) is None  # the tiny build has ended
    EventLog(store.root / "logs" / "build.jsonl")("build", {"command": "x"})
    with pytest.raises(ResultError, match="is not finished"):
        prune(capsys, store, "--yes")
    late = time.time() + 4000
    monkeypatch.setattr(runs.time, "time", lambda: late)
    assert at_work(store) is None


def test_a_store_that_is_not_there(tmp_path):
    with pytest.raises(ResultError, match="no such folder"):
        runs.main(["--runs", str(tmp_path / "none")])


def test_a_record_that_cannot_be_read_is_no_reason_to_fall(store, capsys):
    """Nor is what it was made from removed: by `prune`, or after `verify --remove`."""
    for record in store.root.glob("builds/*/build.json"):
        record.write_text(json.dumps([1]))
    assert {r.used for r in results_of(store)} == {"no build", "last build", "interrupted"}
    for _ in range(2):
        with pytest.raises(ResultError, match=r"build\.json is damaged .*, so it is unknown which results this build"):
            prune(capsys, store, "--yes")
        assert verify.main(["--runs", str(store.root), "--remove"]) == 1
        assert "not removed, since it lists the results of a build" in capsys.readouterr().out


def flip(path):
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


@pytest.mark.parametrize("what", ["features/*/feats.npy", "features/*/manifest.json", "neighbours/*/manifest.json"])
@pytest.mark.parametrize("earlier", [False, True], ids=["now", "a record of an earlier version"])
def test_weights_outlive_the_features_made_from_them(store, tiny_build, capsys, what, earlier):
    """Features are damaged, removed, and what nobody uses pruned: the weights stand, and nothing is trained again."""
    if earlier:
        (record,) = store.root.glob("builds/*")
        told = json.loads((record / "build.json").read_text())
        del told["made_of"]
        asked = json.loads((record / "manifest.json").read_text())
        shutil.rmtree(record)
        address = Address(asked["kind"], asked["name"], asked["request"])
        store.get(address, lambda folder: (folder / "build.json").write_text(json.dumps(told)))
    weights = sorted(p for p in store.root.glob("members/[ab]-*"))
    for path in store.root.glob(what):
        flip(path)
    assert verify.main(["--runs", str(store.root), "--remove"]) == 1
    prune(capsys, store, "--yes")
    assert sorted(store.root.glob("members/[ab]-*")) == weights and len(weights) == 2
    assert bool(list(store.root.glob("members/old-*"))) == earlier, "whether it is needed cannot be told"
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(store.root)
    build.main(argv)
    assert "training a" not in capsys.readouterr().err
