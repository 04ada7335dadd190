"""Events as JSON lines: whole whatever happens, and the same for every reader."""

import json
import math
import os
import signal
import subprocess
import sys
from datetime import datetime

import pytest

from configs.console.event_log import EventLog, append_line, line_of, read_events
from configs.console.progress import Progress
from tests.conftest import ROOT

WRITER = """
import sys
from pathlib import Path
from configs.console.event_log import EventLog
log = EventLog(Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    log("epoch", {"who": sys.argv[3], "i": i, "filling": "x" * 300})
    if i == 20:
        print("going", flush=True)
"""


def writer(path, count, who):
    command = [sys.executable, "-c", WRITER, str(path), str(count), who]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_a_line_has_time_event_run_and_process(tmp_path):
    log = EventLog(tmp_path / "logs" / "build.jsonl")
    log("epoch", {"member": "r50", "loss": 1.5})
    (line,) = (tmp_path / "logs" / "build.jsonl").read_text().splitlines()
    event = json.loads(line)
    assert event["event"] == "epoch" and event["member"] == "r50" and event["loss"] == 1.5
    assert event["pid"] == os.getpid() and len(event["run"]) == 8
    assert abs(datetime.fromisoformat(event["time"]).timestamp() - datetime.now().timestamp()) < 60


def test_what_json_lacks_is_written_as_text():
    line = line_of("epoch", {"loss": math.nan, "terms": {"id": math.inf}, "list": (1, -math.inf), "text": "é\n\udcff"})
    assert line.isascii() and line.count("\n") == 1
    event = json.loads(line, parse_constant=lambda name: pytest.fail(f"a bare {name}"))
    assert (event["loss"], event["terms"], event["list"]) == ("nan", {"id": "inf"}, [1, "-inf"])
    assert event["text"] == "é\n\udcff"


def test_four_processes_and_one_of_them_killed(tmp_path):
    """Every line is whole, none is lost but the dead one's unwritten ones, each writer's are in its order."""
    path = tmp_path / "build.jsonl"
    writers = [writer(path, 300, name) for name in "abc"]
    victim = writer(path, 10**9, "victim")
    victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    assert [w.wait() for w in writers] == [0, 0, 0] and victim.wait() == -signal.SIGKILL
    for w in (*writers, victim):
        w.stdout.close()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    for name in "abc":
        assert [e["i"] for e in events if e["who"] == name] == list(range(300))
    dead = [e["i"] for e in events if e["who"] == "victim"]
    assert len(dead) >= 21 and dead == list(range(len(dead)))


def test_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "build.jsonl"
    path.write_text('{"event": "a"}\n{"event": "b", "lo')
    append_line(path, '{"event": "c"}\n')
    assert [e["event"] for e in read_events(path)] == ["a", "c"]


def test_a_write_that_the_disk_cuts_short_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "build.jsonl"
    append_line(path, '{"event": "a"}\n')
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
    with pytest.raises(OSError, match="space"):
        append_line(path, '{"event": "b"}\n')
    assert path.read_text() == '{"event": "a"}\n'


def test_a_log_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, capsys):
    (tmp_path / "logs").write_text("a file in the way")
    progress = Progress(quiet=True)
    progress.listeners.append(EventLog(tmp_path / "logs" / "build.jsonl"))
    progress.event("epoch", loss=1)
    progress.event("epoch", loss=2)
    assert capsys.readouterr().err.count("build.jsonl cannot be written") == 1


def test_what_is_said_and_warned_of_are_events(capsys):
    heard = []
    progress = Progress()
    progress.listeners.append(lambda event, fields: heard.append((event, dict(fields))))
    progress.say("hello")
    progress.warn("careful")
    assert heard == [("said", {"text": "hello"}), ("warning", {"text": "careful"})]
    assert capsys.readouterr().err == "hello\nwarning: careful\n"
