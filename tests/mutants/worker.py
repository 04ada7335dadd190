"""In a copied tree: puts one fault after another into it, and forks a run of the tests that cover the line.

Reads a job a line of JSON, {file, source, tests: [[name, seconds], ...], compiled, grace}; answers [outcome, last
test, how many].
The modules that are named as arguments, which are not under test, are imported once, before the forks.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

import pytest

BROKEN = 70
COMPILING, TIMES_SLOWER = 150, 8  # a test that takes longer than this and the grace asked for counts as failed


class Chosen:
    """The plugin of one run: these tests in this order, each with an end to its patience, and told where it stands."""

    def __init__(self, tests, told, grace):
        self.seconds, self.told, self.grace = dict(tests), told, grace
        self.place = {name: at for at, (name, _) in enumerate(tests)}

    def pytest_collection_modifyitems(self, items):
        wanted = [item for item in items if item.nodeid in self.place]
        items[:] = sorted(wanted, key=lambda item: self.place[item.nodeid])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid):
        os.write(self.told, f"{nodeid}\n".encode())
        signal.alarm(int(self.grace + TIMES_SLOWER * self.seconds[nodeid]))


def run(job, told):
    """In the fork: the tests, and the status of pytest."""
    os.setsid()
    silence = os.open(os.devnull, os.O_RDWR)
    log = os.open("mutants.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for fd, number in ((silence, 0), (log, 1), (log, 2)):
        os.dup2(fd, number)
    if "numba" in sys.modules:  # it has read the environment before
        sys.modules["numba"].core.config.reload_config()
    grace = job["grace"] + COMPILING * job["compiled"]
    signal.alarm(300 + grace)
    files = list(dict.fromkeys(name.split("::")[0] for name, _ in job["tests"]))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore:Module already imported"]
    return pytest.main([*options, *files], plugins=[Chosen(job["tests"], told, grace)])


def outcome(job, scratch):
    """[killed, timeout or survived, the test that was the last, how many ran]."""
    os.environ["NUMBA_CACHE_DIR"] = str(scratch / "numba") if job["compiled"] else ""
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(scratch)
    told = os.open(scratch / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = os.fork()
    if not pid:
        try:
            os._exit(int(run(job, told)))
        except BaseException:
            traceback.print_exc()
        os._exit(BROKEN)
    os.close(told)
    _, status = os.waitpid(pid, 0)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what it may have left running
    seen = (scratch / "told").read_text(encoding="utf-8").splitlines()
    ended = os.waitstatus_to_exitcode(status)
    if ended in (4, BROKEN):
        raise RuntimeError(f"no tests could be run: {Path('mutants.log').read_text(encoding='utf-8')[-2000:]}")
    how = {0: "survived", 5: "survived", -signal.SIGALRM: "timeout"}.get(ended, "killed")
    return [how, seen[-1] if seen else "collection", len(seen)]


def main():
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in sys.argv[1:]:
        try:
            __import__(name)
        except ImportError:
            continue
    for line in sys.stdin:
        job = json.loads(line)
        place = Path(job["file"])
        right, times = place.read_bytes(), place.stat()
        scratch = Path(tempfile.mkdtemp(prefix="mutant-"))
        try:
            place.write_bytes(job["source"].encode())
            answer = outcome(job, scratch)
        finally:
            place.write_bytes(right)
            os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
            shutil.rmtree(scratch, ignore_errors=True)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
