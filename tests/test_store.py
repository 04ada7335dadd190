"""Addresses and the store: killed, damaged, raced for, and asked twice."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from configs.errors import ResultError
from configs.store import atomic_files
from configs.store.atomic_files import check_checksum, file_digest, with_checksum, write_text
from configs.store.store import Address, Store, find_damage

ROOT = Path(__file__).parent.parent
ASKED = Address("things", "one", {"a": 1, "b": {"c": [1, 2]}})


def write_two(folder):
    (folder / "a.bin").write_bytes(bytes(range(256)))
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("content\n")


@pytest.fixture
def said():
    return []


@pytest.fixture
def store(tmp_path, said):
    return Store(tmp_path / "runs", said.append)


def run_script(body, *args):
    """A Python process of the project that carries out `body`, its standard output open to read."""
    code = "import os, sys, time\nfrom pathlib import Path\nfrom configs.store.store import Address, Store\n"
    code += f"ASKED = Address('things', 'one', {dict(ASKED.request)!r})\n" + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def kill_inside(store, body):
    """Run `body`, which prints a line inside `make`, and kill it there."""
    with run_script(body, store.root) as process:
        assert process.stdout.readline() == "inside\n"
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


# --------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "request_",
    [
        {"a": 2, "b": {"c": [1, 2]}},
        {"a": 1, "b": {"c": [2, 1]}},
        {"a": 1, "b": {"c": [1, 2], "d": None}},
        {"a": 1, "b": {}},
        {"a": "1", "b": {"c": [1, 2]}},
        {"a": True, "b": {"c": [1, 2]}},
        {"a": 1},
    ],
)
def test_any_change_of_the_request_gives_another_address(request_):
    assert Address("things", "one", request_).key != ASKED.key


def test_the_order_of_keys_and_tuples_for_lists_give_the_same_address():
    assert Address("things", "one", {"b": {"c": (1, 2)}, "a": 1}).key == ASKED.key
    assert ASKED.key == f"things/one-{ASKED.digest}" and len(ASKED.digest) == 12


def test_a_request_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        _ = Address("things", "one", {"a": float("nan")}).digest


# -------------------------------------------------------------------------------------------------------- made once


def test_a_kept_result_is_not_made_again(store):
    first = store.get(ASKED, write_two)
    second = store.get(ASKED, lambda folder: pytest.fail("made again"))
    assert (first.made, second.made) == (True, False)
    assert first.path == second.path == store.path(ASKED) == store.open(ASKED.key)
    assert (first.path / "deep" / "b.txt").read_text() == "content\n"
    assert store.has(ASKED) and not store.has(Address("things", "one", {}))


def test_what_the_main_process_has_just_checked_is_neither_hashed_nor_waited_for(store):
    """A worker process reads it though somebody holds its lock; what was not checked is hashed as ever."""
    path = store.get(ASKED, write_two).path
    flip_bit(path)
    with store._lock(ASKED.kind, path.name):
        kept = Store(store.root, checked=[ASKED.key]).get(ASKED, lambda folder: pytest.fail("made again"))
    assert kept.path == path and not kept.made
    assert Store(store.root, checked=["things/other"]).get(ASKED, write_two).made


def test_the_manifest_holds_the_request_and_every_digest(store):
    path = store.get(ASKED, write_two).path
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["request"] == ASKED.request and manifest["kind"] == "things" and manifest["name"] == "one"
    assert manifest["sha256"] == {n: file_digest(path / n) for n in ("a.bin", "deep/b.txt")}
    # the SHA-256 of the bytes 0 to 255, computed by coreutils
    assert manifest["sha256"]["a.bin"] == "40aff2e9d2d8922e47afd4648e6967497158785fbd1da870e7110266bf944880"


def flip_bit(path):
    content = bytearray((path / "a.bin").read_bytes())
    content[100] ^= 1
    (path / "a.bin").write_bytes(content)


def edit_manifest(change):
    def edit(path):
        manifest = check_checksum((path / "manifest.json").read_text())
        change(manifest)
        (path / "manifest.json").write_text(with_checksum(manifest))

    return edit


DAMAGE = {
    "flipped bit": (flip_bit, "a.bin is damaged"),
    "missing file": (lambda p: (p / "deep" / "b.txt").unlink(), "deep/b.txt is missing"),
    "extra file": (lambda p: (p / "new.txt").write_text(""), "new.txt is not in the manifest"),
    "no manifest": (lambda p: (p / "manifest.json").unlink(), "no manifest"),
    "torn manifest": (lambda p: os.truncate(p / "manifest.json", 40), "cannot be read"),
    "binary manifest": (lambda p: (p / "manifest.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "empty list": (lambda p: (p / "manifest.json").write_text("[]"), "cannot be read"),
    "digests in a list": (edit_manifest(lambda m: m.update(sha256=["a.bin"])), "cannot be read"),
    "request edited": (edit_manifest(lambda m: m["request"].update(a=2)), "another request"),
    "name edited": (edit_manifest(lambda m: m.update(name="two")), "another request"),
    "kind edited": (edit_manifest(lambda m: m.update(kind="thongs")), "another request"),
    "digest edited": (edit_manifest(lambda m: m["sha256"].update({"a.bin": "0" * 64})), "a.bin is damaged"),
    "entry removed": (edit_manifest(lambda m: m["sha256"].pop("a.bin")), "a.bin is not in the manifest"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_the_result_made_again_aloud(store, said, what):
    spoil, complaint = DAMAGE[what]
    path = store.get(ASKED, write_two).path
    spoil(path)
    with pytest.raises(ResultError, match=complaint):
        store.open(ASKED.key)
    assert complaint in find_damage(path, ASKED)
    assert store.get(ASKED, write_two).made
    assert len(said) == 1 and complaint in said[0] and "rebuilding" in said[0]
    assert find_damage(path, ASKED) is None


def test_a_result_moved_under_another_address_is_not_taken_for_it(store):
    path = store.get(ASKED, write_two).path
    other = Address("things", "one", {"a": 5})
    path.rename(store.path(other))
    assert "another request" in find_damage(store.path(other), other)


def test_a_result_that_is_not_there_says_what_to_do(store):
    with pytest.raises(ResultError, match=r"does not exist\. Run the build again"):
        store.open("things/none-0123456789ab")


# -------------------------------------------------------------------------------------------------- makers that fail


def test_a_maker_that_raises_leaves_nothing_under_the_final_name(store):
    def broken(folder):
        write_two(folder)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        store.get(ASKED, broken)
    assert not store.path(ASKED).exists() and not store.has(ASKED)
    assert store.get(ASKED, write_two).made


def test_a_maker_that_raises_leaves_what_was_there_and_damaged(store):
    path = store.get(ASKED, write_two).path
    flip_bit(path)

    def broken(folder):
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        store.get(ASKED, broken)
    assert (path / "deep" / "b.txt").exists()


KILLED = """
def make(folder):
    (folder / "half.bin").write_bytes(b"x" * 1000)
    (folder / ".torn.bin.part").write_bytes(b"x")
    {more}
    print("inside", flush=True)
    time.sleep(60)
Store(Path(sys.argv[1])).get(ASKED, make, resume={resume})
"""


def test_a_killed_maker_is_replaced_by_the_next(store):
    kill_inside(store, KILLED.format(more="pass", resume=True))
    part = store.path(ASKED).with_name(f".{store.path(ASKED).name}.part")
    assert (part / "half.bin").exists() and not store.path(ASKED).exists()
    path = store.get(ASKED, write_two, resume=True).path
    assert sorted(p.name for p in path.iterdir()) == ["a.bin", "deep", "manifest.json"]
    assert not part.exists()


def test_a_killed_maker_that_can_resume_gets_its_work_back_and_no_torn_file(store):
    more = '(folder / "resume").mkdir(); (folder / "resume" / "state").write_text("epoch 7")'
    kill_inside(store, KILLED.format(more=more, resume=True))
    assert store.sweep() == []

    def go_on(folder):
        assert (folder / "resume" / "state").read_text() == "epoch 7"
        write_two(folder)

    path = store.get(ASKED, go_on, resume=True).path
    assert sorted(p.name for p in path.iterdir()) == ["a.bin", "deep", "half.bin", "manifest.json"]
    assert find_damage(path, ASKED) is None


def test_without_resume_the_work_of_a_killed_maker_is_not_handed_on(store):
    more = '(folder / "resume").mkdir()'
    kill_inside(store, KILLED.format(more=more, resume=True))
    path = store.get(ASKED, write_two).path
    assert not (path / "resume").exists() and not (path / "half.bin").exists()


@pytest.mark.parametrize("step", ["os.replace", "store.seal", "shutil.rmtree"])
def test_killed_at_any_step_of_the_finish_the_next_run_has_a_whole_result(store, step):
    """The process ends inside the step; `rmtree` is the very last one, when the result already has its name."""
    body = f"""
    import shutil
    from configs.store import store
    def die(*args, **kwargs): os._exit(9)
    def make(folder):
        (folder / "resume").mkdir(); (folder / "resume" / "big").write_text("state")
        (folder / "deep").mkdir(); (folder / "deep" / "b.txt").write_text("content")
        {step} = die
    Store(Path(sys.argv[1])).get(ASKED, make, resume=True)
    """
    with run_script(body, store.root) as process:
        assert process.wait() == 9
    assert store.path(ASKED).exists() == (step == "shutil.rmtree")

    def make(folder):
        (folder / "deep").mkdir(exist_ok=True)
        (folder / "deep" / "b.txt").write_text("content")

    kept = store.get(ASKED, make, resume=True)
    assert kept.made == (step != "shutil.rmtree")
    assert sorted(p.name for p in kept.path.iterdir()) == ["deep", "manifest.json"]


def test_sweep_removes_what_nobody_is_at_work_on(store):
    kill_inside(store, KILLED.format(more="pass", resume=False))
    swept = store.sweep()
    assert [p.name for p in swept] == [f".one-{ASKED.digest}.part"] and not swept[0].exists()


def test_sweep_leaves_what_another_process_is_making(store):
    with run_script(KILLED.format(more="pass", resume=False), store.root) as process:
        assert process.stdout.readline() == "inside\n"
        assert store.sweep() == []
        assert (store.path(ASKED).with_name(f".one-{ASKED.digest}.part") / "half.bin").exists()
        process.kill()


def test_two_processes_asking_for_one_address_make_it_once(store):
    body = """
    def make(folder):
        with open(Path(sys.argv[1]) / "made.txt", "a") as f:
            f.write("made\\n")
        time.sleep(0.3)
        (folder / "x").write_text("x")
    print("up", flush=True)
    sys.stdin.readline()
    print(Store(Path(sys.argv[1])).get(ASKED, make).made, flush=True)
    """
    processes = [run_script(body.replace("sys.stdin.readline()", "pass"), store.root) for _ in range(3)]
    answers = [p.communicate(timeout=60)[0].split()[-1] for p in processes]
    assert sorted(answers) == ["False", "False", "True"]
    assert (store.root / "made.txt").read_text() == "made\n"


# --------------------------------------------------------------------------------------------------- disks that refuse


def test_a_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match=r"cannot be created .* --runs"):
        Store(tmp_path / "file" / "runs")


def test_a_root_that_takes_no_lock_files(store):
    (store.root / ".locks").write_text("in the way")
    with pytest.raises(ResultError, match="lock files cannot be written"):
        store.get(ASKED, write_two)


def test_a_kind_that_cannot_be_written(store):
    (store.root / "things").write_text("in the way")
    with pytest.raises(ResultError, match="cannot be written"):
        store.get(ASKED, write_two)


def test_a_full_disk_says_so_and_leaves_nothing_under_the_final_name(store):
    def make(folder):
        with open("/dev/full", "w") as f:
            f.write("x")

    with pytest.raises(ResultError, match=r"No space left.*[MG]B are free"):
        store.get(ASKED, make)
    assert not store.path(ASKED).exists()


def test_a_file_that_the_maker_cannot_read_is_not_called_a_write_error(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.get(ASKED, lambda folder: (tmp_path / "nowhere.jpg").read_bytes())


def test_write_text_replaces_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_text(path, "old")

    def broken(*args):
        raise OSError("on purpose")

    monkeypatch.setattr(atomic_files.os, "replace", broken)
    with pytest.raises(OSError, match="on purpose"):
        write_text(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_disk_that_fills_says_how_much_was_needed(store, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    def make(folder):
        monkeypatch.setattr(atomic_files.os, "fsync", full)
        write_text(folder / "big.txt", "x" * 2_500_000)

    with pytest.raises(ResultError, match=r"No space left on device\); big.txt takes 2.5 MB, [\d.]+ [MG]B are free in"):
        store.get(ASKED, make)
    assert not store.path(ASKED).exists() and list((store.root / "things").iterdir()) == []


def test_a_quota_is_said_and_the_old_file_stands(store, monkeypatch):
    """As a file system with quotas refuses: here at the flush, where delayed writes meet it."""
    store.point_at("last.json", {"name": "old"})
    before = (store.root / "last.json").read_bytes()

    def over(handle):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(atomic_files.os, "fsync", over)
    words = r"Disk quota exceeded\); {} takes [\d,.]+ K?B, the quota of .* is reached; have it raised"
    with pytest.raises(ResultError, match=words.format("last.json")):
        store.point_at("last.json", {"name": "new"})
    with pytest.raises(ResultError, match=words.format("x.txt")):
        store.get(ASKED, lambda folder: write_text(folder / "x.txt", "x"))
    assert (store.root / "last.json").read_bytes() == before
    assert not store.path(ASKED).exists() and not list(store.root.glob("**/.*.part"))


def test_a_disk_that_takes_no_more_files_says_so(store, monkeypatch):
    """It has bytes enough; inodes are what it lacks."""
    real = os.statvfs(store.root)
    monkeypatch.setattr(
        atomic_files.os, "statvfs", lambda folder: os.statvfs_result((*real[:5], 1500, 2, 2, *real[8:]))
    )

    def make(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "x"))

    with pytest.raises(ResultError, match=r"[MG]B and 2 of 1,500 files are free in .*; make room"):
        store.get(ASKED, make)


# ------------------------------------------------------------------------------------------- what it was made with


def test_other_packages_are_said_once_and_the_result_is_kept(tmp_path, said):
    """Versions are no part of an address."""
    other = Address("things", "two", {})
    before = Store(tmp_path / "runs", said.append, made_with={"torch": "1.0", "pillow": "13.0"})
    for address in (ASKED, other):
        before.get(address, write_two)
    after = Store(tmp_path / "runs", said.append, made_with={"torch": "2.0", "pillow": "13.0"})
    assert not any(after.get(address, write_two).made for address in (ASKED, other, ASKED))
    assert len(said) == 1 and "made with torch 1.0, now 2.0;" in said[0]


def test_a_pointer_is_sealed_and_leaves_no_torn_file(store):
    (store.root / ".last.json.4711.part").write_text("{")  # of a writer that was killed
    store.point_at("last.json", {"build": "builds/x-0123456789ab"})
    text = (store.root / "last.json").read_text()
    assert check_checksum(text) == {"build": "builds/x-0123456789ab"}
    assert sorted(p.name for p in store.root.iterdir()) == [".locks", "last.json"]
    for at in range(len(text)):
        for bit in range(8):
            flipped = text[:at] + chr(ord(text[at]) ^ 1 << bit) + text[at + 1 :]
            with pytest.raises(ValueError, match=r".+"):
                check_checksum(flipped)
