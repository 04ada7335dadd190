"""Make members in parallel worker processes. Only this process prints, writes the log and receives stop signals.

Workers are started, not forked, since a CUDA context does not survive a fork.
They run in their own session: Ctrl-C reaches only this process, which tells each worker to stop.
If a worker dies, its member has failed and the worker is replaced. If this process dies, the workers notice it at
their next message and stop.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection, wait
from typing import Any

from configs.console.progress import Step
from configs.console.signals import Stopped, deferred_stop
from configs.errors import ReidError, TrainingError
from configs.schema import Member
from ensemble.pipeline.context import BuildContext
from ensemble.pipeline.stages import BuildPlan, images_needed

LOOK_S = 0.5  # interval of checks for signals and dead workers
NO_CARD = ""


@dataclass
class Worker:
    """A worker process, its socket, its GPU, its member, and the results that it is making."""

    process: subprocess.Popen[bytes]
    line: Connection
    card: str
    member: Member | None = None
    begun: list[dict[str, Any]] = field(default_factory=list)
    step: Step = lambda steps: None


def make_in_parallel(context: BuildContext, plan: BuildPlan, members: Sequence[Member], count: int) -> list[Exception]:
    """Train members and extract their features, `count` at a time. Results are those of a single process.

    Returns:
        the errors of members that failed. An error that is not a ReidError is a defect.

    Raises:
        Stopped: a signal came. Every worker finished its batch, saved and stopped.
    """
    with WorkerPool(context, plan, count) as pool:
        return pool.make(members)


class WorkerPool:
    """The workers of a build."""

    def __init__(self, context: BuildContext, plan: BuildPlan, count: int) -> None:
        self.context = context
        self.plan = plan
        self.count = count
        self.order: tuple[Any, ...] = ()
        self.workers: list[Worker] = []
        self.gone: list[Worker] = []
        self.left: deque[Member] = deque()
        self.failed: list[Exception] = []
        self.saved: list[str] = []
        self.stopping = False

    def __enter__(self) -> WorkerPool:
        for card in islice(cycle(self.context.cards or (NO_CARD,)), self.count):
            self._start(card)
        return self

    def __exit__(self, *reason: object) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in (*self.workers, *self.gone):
            worker.line.close()
            worker.process.wait()

    def make(self, members: Sequence[Member]) -> list[Exception]:
        """Give members to workers and process their messages until all are made or have failed."""
        self.order = self._order(members)
        self.left.extend(members)
        with deferred_stop() as asked:
            while self.left or any(worker.member for worker in self.workers):
                ready = wait([worker.line for worker in self.workers], LOOK_S)
                for worker in list(self.workers):
                    if worker.line in ready or worker.process.poll() is not None:
                        self._hear(worker)
                if asked() and not self.stopping:
                    self._stop()
            if self.stopping:
                raise Stopped(asked() or signal.SIGTERM, "; ".join(self.saved))
        return self.failed

    def _order(self, members: Sequence[Member]) -> tuple[Any, ...]:
        """The first message to a worker: its settings. The images that it will read are decoded here."""
        context, plan = self.context, self.plan
        told = {
            "config": context.config,
            "root": context.store.root,
            "made_with": dict(context.store.made_with),
            "checked": frozenset(address.key for address in images_needed(context, plan, members)),
            "device": context.device,
            "precision": context.precision,
            "workers": context.workers,
        }
        return told, replace(plan, outside={}, joined={}), self.count

    def _start(self, card: str) -> None:
        """Start a worker with as many threads as this process, so that its sums round the same way."""
        ours, theirs = socket.socketpair()
        more = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": self.context.store.made_with["threads"]}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.member_worker", str(theirs.fileno())],
                env=os.environ | more | ({"CUDA_VISIBLE_DEVICES": card} if card != NO_CARD else {}),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,  # output of libraries; standard output is for results
                start_new_session=True,
            )
        self.workers.append(Worker(process, Connection(ours.detach()), card))

    def _hear(self, worker: Worker) -> None:
        """Process one message of a worker, or the end of its connection."""
        try:
            words = worker.line.recv() if worker.line.poll() else None
        except (EOFError, OSError):
            words = None
        match words:
            case ("ready",):
                self._send(worker, self.order)
                self._deal(worker)
            case ("event", event, fields):
                self._tell(worker, event, fields)
            case ("task", name, total, done):
                if display := self.context.progress.display:
                    worker.step = display.task(name, total, done, worker.process.pid)
            case ("step", steps):
                worker.step(steps)
            case ("made", error):
                self._made(worker, error)
            case ("stopped", saved):
                self.saved += [saved] if saved else []
                if not self.stopping:  # a signal reached only this worker
                    self._stop()
            case _:
                self._lost(worker)

    def _send(self, worker: Worker, words: Any) -> None:
        with suppress(OSError):  # the worker is gone; the next check finds it
            worker.line.send(words)

    def _deal(self, worker: Worker) -> None:
        """Give a worker the next member. If none is left, end the worker, which frees its GPU memory."""
        worker.member = self.left.popleft() if self.left else None
        if worker.member:
            self._send(worker, worker.member.name)
        else:
            self._let_go(worker)

    def _made(self, worker: Worker, error: Exception | None) -> None:
        if error and worker.member:
            self._give_up(worker.member, error)
        if error and not isinstance(error, ReidError):
            self._let_go(worker, replaced=True)
        else:
            self._deal(worker)

    def _lost(self, worker: Worker) -> None:
        """A worker died, or stopped as requested."""
        status = describe_exit(worker.process.wait())
        for fields in reversed(worker.begun):
            self.context.progress.event("stopped", **fields, pid=worker.process.pid)
        if worker.member and not self.stopping:
            self._give_up(worker.member, TrainingError(f"{worker.member.name}: its process {status}"))
        self._let_go(worker, replaced=worker.member is not None)
        if not self.workers and self.left:
            raise RuntimeError(f"a worker process {status}, before it had a member; see its output above")

    def _let_go(self, worker: Worker, *, replaced: bool = False) -> None:
        """End a worker by closing its socket."""
        worker.line.close()
        self.workers.remove(worker)
        self.gone.append(worker)
        if replaced and self.left:
            self._start(worker.card)

    def _give_up(self, member: Member, error: Exception) -> None:
        self.failed.append(error)
        report_given_up(self.context, member, error)

    def _stop(self) -> None:
        """Tell every worker with a member to stop after its current batch."""
        self.stopping = True
        self.left.clear()
        for worker in self.workers:
            if worker.member:
                worker.process.terminate()

    def _tell(self, worker: Worker, event: str, fields: Mapping[str, Any]) -> None:
        """Repeat an event of a worker in this process."""
        progress = self.context.progress
        if event in ("said", "warning"):
            {"said": progress.say, "warning": progress.warn}[event](fields["text"])
            return
        if event in ("begun", "done", "stopped"):
            worker.begun = [f for f in worker.begun if f["key"] != fields["key"]]
            worker.begun += [dict(fields)] if event == "begun" else []
        progress.event(event, **fields, pid=worker.process.pid)


def report_given_up(context: BuildContext, member: Member, error: Exception) -> None:
    """Print that a member failed, and why."""
    context.progress.say(f"error: {error}\n  {member.name} failed; the other members are still trained")


def describe_exit(status: int) -> str:
    """How a process ended, as text."""
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL), probably for lack of memory; a smaller --parallel needs less"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
