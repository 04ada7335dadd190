"""Event log as JSON lines: one line per event, complete lines even from killed processes.

    {"time": "2026-03-01T21:04:05.678+00:00", "run": "1a2b3c4d", "pid": 4242, "event": "epoch", "member": "r50", ...}

Each line is one locked write to a file opened for appending, so several processes may share the file.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

LOGS, EVENTS = "logs", "build.jsonl"


class EventLog:
    """A listener of `Progress` that appends events to a file. A write error never stops the work."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, uuid.uuid4().hex[:8]
        self.broken = False

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Append one event."""
        if self.broken:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_line(self.path, line_of(event, {"run": self.run, "pid": os.getpid()} | dict(fields)))
        except OSError as e:
            self.broken = True
            print(f"note: {self.path} cannot be written ({e.strerror or e}); logging stops", file=sys.stderr)


class EventStream:
    """A listener that writes the same lines to a stream, for container logs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one event."""
        self.stream.write(line_of(event, fields))
        self.stream.flush()


def line_of(event: str, fields: Mapping[str, Any]) -> str:
    """One event as a line of strict JSON: ASCII, no NaN."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": when, "event": event} | _plain(fields), default=str) + "\n"


def _plain(value: Any) -> Any:
    """Replace NaN and infinities, which JSON lacks, by their names."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def append_line(path: Path, line: str) -> None:
    """Append a full line or nothing. A partial line that a full disk left is ended first."""
    data = line.encode("ascii")
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            data = b"\n" + data
        if os.write(handle, data) != len(data):
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(handle)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, in order; incomplete lines are skipped."""
    with open(path, encoding="ascii", errors="replace") as f:
        for line in f:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event
