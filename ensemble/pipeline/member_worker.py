"""A worker process: it makes members one after another, as the main process requests over a socket.

It calls the same functions as a build without workers, on the same store. Messages and progress go to the main
process, which owns the screen and the log: ("ready",), then ("event", name, fields), ("task", name, total, done),
("step", n). A finished member sends ("made", None or the error). A stop sends ("stopped", what was saved).
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from configs.console.progress import Progress, Step
from configs.console.signals import Stopped, signal_handler, stop
from configs.errors import ReidError, ResultError, TrainingError
from configs.schema import BuildConfig, Member
from configs.store.store import Store
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, features, member_addresses, train
from models.cuda_devices import out_of_memory

STEPS_EVERY_S = 0.1


class Relay:
    """Sends the events of a `Progress` to the main process. It is its listener and its display.

    If the main process is gone, it raises SIGTERM here: the worker finishes its batch, saves, and stops.
    """

    def __init__(self, line: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self.line, self.clock = line, clock
        self.steps, self.told = 0.0, clock()
        self.broken = False  # the other end is closed, or a signal interrupted a message

    def send(self, *words: Any) -> None:
        """Send one message."""
        if self.broken:
            return
        self.broken = True
        try:
            self.line.send(words)
        except OSError:
            signal.raise_signal(signal.SIGTERM)
        else:
            self.broken = False

    def flush(self) -> None:
        """Send the steps that are not sent yet."""
        if self.steps:
            steps, self.steps, self.told = self.steps, 0.0, self.clock()
            self.send("step", steps)

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        self.flush()
        self.send("event", event, dict(fields))

    def task(self, name: str, total: float, done: float, process: int = 0) -> Step:
        """Begin a task. Its steps are sent at most ten times a second."""
        self.flush()
        self.send("task", name, total, done)
        return self._step

    def _step(self, steps: float) -> None:
        self.steps += steps
        if self.clock() - self.told >= STEPS_EVERY_S:
            self.flush()


def worker_context(
    relay: Relay,
    config: BuildConfig,
    root: Path,
    made_with: Mapping[str, str],
    checked: frozenset[str],
    device: str,
    precision: str,
    workers: int,
) -> BuildContext:
    """The main process's build context, for this process: progress goes to the relay, one member at a time."""
    progress = Progress(quiet=True)
    progress.listeners.append(relay)
    progress.display = relay
    return BuildContext(
        config, Store(root, progress.say, progress.tell, made_with, checked), progress, device, precision, workers
    )


def attempt(context: BuildContext, plan: BuildPlan, member: Member, parallel: int) -> Exception | None:
    """Train a member and extract its features.

    Args:
        parallel: number of members that the build makes at a time.

    Returns:
        The error, or None.
    """
    try:
        if not plan.train_images or member_addresses(context, plan.training, plan.train_images) != plan.members:
            raise ResultError(
                f"{member.name}: the code of training, or a file of weights, was changed while the build ran; start it "
                "again: it keeps what is finished, and makes the rest with what is there now"
            )
        train(context, plan, member)
        for test in plan.tests:
            features(context, plan, member, test)
    except ReidError as e:
        return e
    except Exception as e:
        if out_of_memory(e):
            return TrainingError(
                f"{member.name}: the GPU has no room for it beside what else is there ({parallel} members at a time); "
                "a smaller --parallel or recipe.identities_per_batch takes less"
            )
        return RuntimeError(f"{member.name}, in its worker process:\n{traceback.format_exc()}")
    return None


def serve(line: Connection) -> None:
    """Make members until the main process closes the socket, exits, or requests a stop."""
    relay = Relay(line)
    try:
        with signal_handler(stop):
            relay.send("ready")
            order, plan, parallel = line.recv()
            context = worker_context(relay, **order)
            members = {m.name: m for m in context.config.members}
            while True:
                error = attempt(context, plan, members[line.recv()], parallel)
                relay.flush()
                relay.send("made", error)
                if error and not isinstance(error, ReidError):
                    return  # the state may be damaged: another process makes the other members
    except (EOFError, ConnectionResetError):
        return
    except Stopped as stopped:
        if not relay.broken:
            with suppress(OSError):
                line.send(("stopped", stopped.kept))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
    sys.stderr.flush()
    os._exit(0)  # a normal exit takes two seconds, and all results are on the disk
