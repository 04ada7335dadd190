"""Members made side by side, each in a worker process; this process alone speaks, writes the log and is asked to stop.

Workers are started anew and not forked, in a session of their own: a CUDA context does not survive a fork, and a
terminal's Ctrl-C reaches this process alone, which asks each of them once. A worker that dies takes its member with it
and is replaced; if this process dies, the workers notice by their next word and stop.
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
from configs.console.signals import Stopped, at_a_good_moment
from configs.errors import ReidError, TrainingError
from configs.schema import Member
from ensemble.pipeline.context import Job
from ensemble.pipeline.stages import Work, images_needed

LOOK_S = 0.5  # so often it is looked whether a signal came, or a worker went without a word
NO_CARD = ""


@dataclass
class Worker:
    """A worker process, the socket to it, the card it sees, its member, and the results that are under way in it."""

    process: subprocess.Popen[bytes]
    line: Connection
    card: str
    member: Member | None = None
    begun: list[dict[str, Any]] = field(default_factory=list)
    step: Step = lambda steps: None


def side_by_side(job: Job, work: Work, members: Sequence[Member], count: int) -> list[Exception]:
    """Train members and extract their features, `count` at a time, each as one process alone would.

    Returns:
        the errors of those that were given up; an error that is no ReidError is a defect.

    Raises:
        Stopped: a signal came; every worker was stopped after its batch in hand, and has saved.
    """
    with Pool(job, work, count) as pool:
        return pool.make(members)


class Pool:
    """The workers of a build."""

    def __init__(self, job: Job, work: Work, count: int) -> None:
        self.job, self.work, self.count = job, work, count
        self.order: tuple[Any, ...] = ()
        self.workers: list[Worker] = []
        self.gone: list[Worker] = []
        self.left: deque[Member] = deque()
        self.failed: list[Exception] = []
        self.saved: list[str] = []
        self.stopping = False

    def __enter__(self) -> Pool:
        for card in islice(cycle(self.job.cards or (NO_CARD,)), self.count):
            self._start(card)
        return self

    def __exit__(self, *reason: object) -> None:
        for worker in self.workers:
            worker.process.kill()
        for worker in (*self.workers, *self.gone):
            worker.line.close()
            worker.process.wait()

    def make(self, members: Sequence[Member]) -> list[Exception]:
        """Deal the members out, and hear of them until all are made or given up."""
        self.order = self._order(members)
        self.left.extend(members)
        with at_a_good_moment() as asked:
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
        """What a worker needs to know; the images that it will read are decoded."""
        job, work = self.job, self.work
        told = {
            "plan": job.plan,
            "root": job.store.root,
            "made_with": dict(job.store.made_with),
            "checked": frozenset(address.key for address in images_needed(job, work, members)),
            "device": job.device,
            "precision": job.precision,
            "workers": job.workers,
        }
        return told, replace(work, outside={}, joined={}), self.count

    def _start(self, card: str) -> None:
        """A new process; the sums of its threads round as those of this one's do."""
        ours, theirs = socket.socketpair()
        more = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": self.job.store.made_with["threads"]}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.member_worker", str(theirs.fileno())],
                env=os.environ | more | ({"CUDA_VISIBLE_DEVICES": card} if card != NO_CARD else {}),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,  # what libraries print; standard output is for results
                start_new_session=True,
            )
        self.workers.append(Worker(process, Connection(ours.detach()), card))

    def _hear(self, worker: Worker) -> None:
        """One message of a worker, or that it is gone."""
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
                if display := self.job.progress.display:
                    worker.step = display.task(name, total, done, worker.process.pid)
            case ("step", steps):
                worker.step(steps)
            case ("made", error):
                self._made(worker, error)
            case ("stopped", saved):
                self.saved += [saved] if saved else []
                if not self.stopping:  # somebody asked this one alone
                    self._stop()
            case _:
                self._lost(worker)

    def _send(self, worker: Worker, words: Any) -> None:
        with suppress(OSError):  # it is gone; the next look finds that
            worker.line.send(words)

    def _deal(self, worker: Worker) -> None:
        """The next member; where none is left the worker is let go, and gives the memory of its card back."""
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
        """A worker died, or stopped as it was asked to."""
        status = ended(worker.process.wait())
        for fields in reversed(worker.begun):
            self.job.progress.event("stopped", **fields, pid=worker.process.pid)
        if worker.member and not self.stopping:
            self._give_up(worker.member, TrainingError(f"{worker.member.name}: its process {status}"))
        self._let_go(worker, replaced=worker.member is not None)
        if not self.workers and self.left:
            raise RuntimeError(f"a worker process {status}, before it had a member; what it said stands above")

    def _let_go(self, worker: Worker, *, replaced: bool = False) -> None:
        """A worker that hears no more than that its socket is closed."""
        worker.line.close()
        self.workers.remove(worker)
        self.gone.append(worker)
        if replaced and self.left:
            self._start(worker.card)

    def _give_up(self, member: Member, error: Exception) -> None:
        self.failed.append(error)
        give_up(self.job, member, error)

    def _stop(self) -> None:
        """Ask every worker that has a member to stop after its batch in hand."""
        self.stopping = True
        self.left.clear()
        for worker in self.workers:
            if worker.member:
                worker.process.terminate()

    def _tell(self, worker: Worker, event: str, fields: Mapping[str, Any]) -> None:
        """What was told in a worker, told here."""
        progress = self.job.progress
        if event in ("said", "warning"):
            {"said": progress.say, "warning": progress.warn}[event](fields["text"])
            return
        if event in ("begun", "done", "stopped"):
            worker.begun = [f for f in worker.begun if f["key"] != fields["key"]]
            worker.begun += [dict(fields)] if event == "begun" else []
        progress.event(event, **fields, pid=worker.process.pid)


def give_up(job: Job, member: Member, error: Exception) -> None:
    """Say that a member is given up, and why."""
    job.progress.say(f"error: {error}\n  {member.name} is given up; the other members are trained all the same")


def ended(status: int) -> str:
    """How a process ended, in words."""
    if status == -signal.SIGKILL:
        return "was killed (SIGKILL), as a system that runs out of memory does; a smaller --parallel takes less"
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
