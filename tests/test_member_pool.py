"""Worker processes: how many are asked for, how they are dealt members and cards, and each way that one may end."""

import argparse
import os
import signal
import threading
import time
from contextlib import nullcontext, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import SimpleNamespace

import pytest
import torch

from configs.console.command import AUTO, number_or_auto
from configs.console.progress import Progress
from configs.console.signals import Stopped, signal_handler
from configs.errors import ConfigError, ResultError, TrainingError
from ensemble import build, carry_out
from ensemble.pipeline import member_pool, member_worker, run_stages
from ensemble.pipeline.member_pool import WorkerPool
from ensemble.pipeline.member_worker import Relay, attempt
from ensemble.planning import parallelism
from ensemble.planning.parallelism import choose_parallelism
from models import cuda_devices
from models.distributed.process_group import ProcessGroup

# ------------------------------------------------------------------------------------------------- what can be asked


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("12", 12), ("auto", AUTO)])
def test_how_many(text, count):
    assert number_or_auto(text) == count


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_how_many_not(text):
    with pytest.raises(argparse.ArgumentTypeError, match="wanted a number of members to train at a time"):
        number_or_auto(text)


@pytest.mark.parametrize("rank", [0, 1])
def test_not_under_torchrun(monkeypatch, rank):
    """Every process says so by itself: one that waited for the others would end with a traceback."""
    monkeypatch.setattr(carry_out, "join_process_group", lambda device: nullcontext(ProcessGroup(rank, 2)))
    with pytest.raises(ConfigError, match="--parallel under torchrun, whose 2 processes train one member together"):
        build.main(["--parallel", "auto"])


@pytest.fixture
def context(monkeypatch):
    """context(seen, threads, need, free): a build on a machine of 8 cores that sees these cards."""

    def on(seen, threads=8, need=10e9, free=140e9):
        monkeypatch.setattr(parallelism, "cards", lambda device: seen)
        monkeypatch.setattr(parallelism, "free_bytes", lambda: int(free))
        monkeypatch.setattr(parallelism, "estimate_build_cost", lambda context, plan: SimpleNamespace(memory=int(need)))
        monkeypatch.setattr(parallelism.os, "sched_getaffinity", lambda pid: set(range(8)))
        monkeypatch.setattr(parallelism, "replace", lambda context, **new: SimpleNamespace(**vars(context) | new))
        store = SimpleNamespace(made_with={"threads": str(threads)})
        return SimpleNamespace(device="cuda" if seen else "cpu", store=store)

    return on


@pytest.mark.parametrize(
    ("seen", "need", "free", "count", "why"),
    [
        ((), 0, 0, 1, "uses all cores"),
        (("0", "1", "2"), 0, 0, 3, "one member per GPU"),
        (("0",), 10e9, 140e9, 2, "140 GB are free on the GPU and a member takes about 10"),
        (("0",), 50e9, 90e9, 1, "90 GB are free"),
        (("0",), 50e9, 20e9, 1, "20 GB are free"),
        (("0",), 0, 20e9, 2, "20 GB are free"),
    ],
)
def test_auto(context, seen, need, free, count, why):
    settled, said = choose_parallelism(AUTO, context(seen, need=need, free=free), None)
    assert (settled.parallel, settled.cards) == (count, seen)
    assert f"--parallel auto: {count}, " in said and why in said


@pytest.mark.parametrize(
    ("asked", "seen", "threads", "said"),
    [
        (1, (), 8, []),
        (4, (), 2, ["members: 4 at a time on the CPU, each in its own process"]),
        (5, (), 2, ["members: 5 at a time on the CPU", "5 processes of 2 threads on 8 cores", "OMP_NUM_THREADS=1"]),
        (2, (), 8, ["2 at a time", "2 processes of 8 threads on 8 cores slow each other down", "OMP_NUM_THREADS=4"]),
        (5, ("0",), 8, ["members: 5 at a time on one GPU"]),
        (5, ("0", "1"), 8, ["members: 5 at a time on 2 GPUs"]),
    ],
)
def test_what_is_said_of_it(context, asked, seen, threads, said):
    settled, told = choose_parallelism(asked, context(seen, threads), None)
    assert settled.parallel == asked and (told == "") == (said == [])
    assert all(words in told for words in said) and ("note:" in told) == any("slow" in s or "OMP" in s for s in said)


@pytest.mark.parametrize(
    ("visible", "count", "seen"),
    [
        (None, 3, ("0", "1", "2")),
        ("2,5", 2, ("2", "5")),
        ("GPU-8f, GPU-1c ,-1,3", 2, ("GPU-8f", "GPU-1c")),
        ("", 0, ()),
    ],
)
def test_cards_are_those_that_this_process_sees(monkeypatch, visible, count, seen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cuda_devices.cards("cuda") == seen and cuda_devices.cards("cpu") == ()


# --------------------------------------------------------------------- the main process, with workers that play a part


class Played:
    """A process that is a thread of this one, which plays a worker's part: act(line, its number, asked to stop)."""

    status = 0

    def __init__(self, act, line, pid):
        self.pid, self.asked, self.line = pid, threading.Event(), line
        self.thread = threading.Thread(target=self.play, args=(act,))
        self.thread.start()

    def play(self, act):
        with self.line, suppress(EOFError, OSError):
            self.status = act(self.line, self.pid, self.asked)

    def poll(self):
        return None if self.thread.is_alive() else self.status

    def wait(self):
        self.thread.join(30)
        return self.status or 0

    def terminate(self):
        self.asked.set()

    def kill(self):
        self.asked.set()


def ready(line):
    """Say so, and hear the order and the first member's name."""
    line.send(("ready",))
    line.recv()
    return line.recv()


def honest(line, number, asked):
    """Makes whatever it is told, some time after the others began."""
    name = ready(line)
    while True:
        time.sleep(0.2)
        line.send(("event", "said", {"text": f"{number} makes {name}"}))
        line.send(("made", None))
        name = line.recv()


@pytest.fixture
def play(monkeypatch):
    """play(parts, members, count): the errors that a pool with these workers ends with; what it said, and the cards."""
    said, dealt = [], []

    def start(parts, members, count):
        def begin(pool, card):
            ours, theirs = Pipe()
            dealt.append(card)
            pool.workers.append(member_pool.Worker(Played(parts[len(dealt) - 1], theirs, len(dealt)), ours, card))

        monkeypatch.setattr(WorkerPool, "_start", begin)
        monkeypatch.setattr(WorkerPool, "_order", lambda pool, members: "order")
        progress = Progress(quiet=True)
        progress.listeners.append(lambda event, fields: said.append((event, *fields.values())))
        with WorkerPool(SimpleNamespace(cards=("0", "1"), progress=progress), None, count) as pool:
            return pool.make([SimpleNamespace(name=name) for name in members])

    return start, said, dealt


def test_members_are_dealt_to_whoever_is_free(play):
    start, said, dealt = play
    assert start([honest, honest], "abc", 2) == [] and dealt == ["0", "1"]
    told = [text.split(" makes ") for _, text in said]
    assert sorted(name for _, name in told) == ["a", "b", "c"] and {number for number, _ in told} == {"1", "2"}


def test_a_worker_with_a_defect_is_replaced_on_its_card(play):
    def defective(line, number, asked):
        ready(line)
        line.send(("made", RuntimeError("a defect")))
        line.recv()  # nobody tells it to make another: a member that it were told to make would be lost

    start, said, dealt = play
    (error,) = start([honest, defective, honest], "abcde", 2)
    assert str(error) == "a defect" and dealt == ["0", "1", "1"]
    assert len([text for _, text in said if " makes " in text]) == 4


def test_a_worker_that_dies_is_replaced_and_what_was_under_way_in_it_has_stopped(play):
    def dies(line, number, asked):
        name = ready(line)
        for key in ("features", name):
            line.send(("event", "begun", {"key": key}))
        return -signal.SIGSEGV

    start, said, dealt = play
    (error,) = start([dies, honest, honest], "abcd", 2)
    assert isinstance(error, TrainingError) and str(error).endswith("its process was ended by SIGSEGV")
    lost = str(error)[0]
    assert [what for what in said if what[0] == "stopped"] == [("stopped", lost, 1), ("stopped", "features", 1)]
    assert dealt == ["0", "1", "0"] and any("failed; the other members" in text for _, text, *_ in said)


def test_a_worker_that_never_begins_is_done_without_but_not_the_last_one(play):
    start, _, _ = play
    assert start([lambda *_: 1, honest], "ab", 2) == []
    with pytest.raises(RuntimeError, match="a worker process ended with status 1, before it had a member"):
        start([None, None, *[lambda *_: 1] * 2], "ab", 2)


def test_a_worker_that_is_gone_is_missed_though_others_hold_its_socket(play):
    """Loader processes that it had forked, say: no end of the socket tells of it."""

    def dies(line, number, asked):
        ready(line)
        held.append(Connection(os.dup(line.fileno())))
        return -signal.SIGKILL

    start, _, _ = play
    held = []
    (error,) = start([dies, honest, honest], "ab", 2)  # the third where the second is late: its member is left
    held[0].close()
    assert "was killed (SIGKILL)" in str(error)


def test_of_several_errors_a_defect_is_raised_and_the_users_own_are_told_together(monkeypatch):
    monkeypatch.setattr(run_stages, "member_features_address", lambda *_: None)
    monkeypatch.setattr(run_stages, "images_needed", lambda *_: [])
    config = SimpleNamespace(members=[SimpleNamespace(name=name) for name in "ab"])
    store = SimpleNamespace(has=lambda _: False)
    context = SimpleNamespace(config=config, store=store, parallel=2)
    plan = SimpleNamespace(tests={"test": None}, members={"a": 1, "b": 2})
    for errors, kind, words in (
        ([ResultError("a"), RuntimeError("defect")], RuntimeError, "^defect$"),
        ([ResultError("a"), TrainingError("b")], TrainingError, "^a; b$"),
        ([ResultError("a")], ResultError, "^a$"),
    ):
        monkeypatch.setattr(run_stages, "make_in_parallel", lambda *_, errors=errors: errors)
        with pytest.raises(kind, match=words):
            run_stages.make_members(context, plan)


def test_one_worker_asked_to_stop_by_hand_stops_the_build(play):
    both = threading.Barrier(2)

    def stopped(line, number, asked):
        ready(line)
        both.wait(10)
        line.send(("stopped", "a is saved"))

    def asked_too(line, number, asked):
        ready(line)
        both.wait(10)
        assert asked.wait(10)
        line.send(("stopped", "b is saved"))

    start, said, _ = play
    with pytest.raises(Stopped, match=r"^a is saved; b is saved$") as ended:
        start([stopped, asked_too], "abc", 2)
    assert ended.value.number == signal.SIGTERM and said == []


def test_cards_are_dealt_in_turn(monkeypatch):
    started = []

    def popen(command, *, env, start_new_session, **more):
        started.append((env.get("CUDA_VISIBLE_DEVICES"), env["OMP_NUM_THREADS"], start_new_session))
        return SimpleNamespace(kill=lambda: None, wait=lambda: 0)

    monkeypatch.setattr(member_pool.subprocess, "Popen", popen)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8f")
    context = SimpleNamespace(cards=("3", "GPU-8f"), store=SimpleNamespace(made_with={"threads": "7"}))
    with WorkerPool(context, None, 5) as pool:
        pool._start("GPU-8f")
    turns = ["3", "GPU-8f", "3", "GPU-8f", "3", "GPU-8f"]
    assert started == [(card, "7", True) for card in turns]


# --------------------------------------------------------------------------------------------------------- a worker


@pytest.fixture
def work(monkeypatch):
    """work(error): a member that is trained with this error, and its context and plan."""

    def with_(error=None, changed=False):
        made = []

        def train(context, plan, member):
            if error:
                raise error
            made.append("trained")

        addresses = {"a": "members/a-1"}
        monkeypatch.setattr(member_worker, "member_addresses", lambda *_: {"a": "other"} if changed else addresses)
        monkeypatch.setattr(member_worker, "train", train)
        monkeypatch.setattr(member_worker, "features", lambda context, plan, member, test: made.append(test))
        plan = SimpleNamespace(train_images="images", training=None, members=addresses, tests={"test": 0, "holdout": 0})
        return attempt(None, plan, SimpleNamespace(name="a"), 3), made

    return with_


def test_a_worker_trains_and_extracts(work):
    assert work() == (None, ["trained", "test", "holdout"])


def test_code_that_was_changed_meanwhile_makes_nothing_under_the_old_address(work):
    error, made = work(changed=True)
    assert isinstance(error, ResultError) and "was changed while the build ran" in str(error) and made == []


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TrainingError("a: NaN"), TrainingError, "^a: NaN$"),
        (ResultError("full"), ResultError, "^full$"),
        (torch.OutOfMemoryError("CUDA"), TrainingError, r"^a: the GPU has no room for it .*\(3 members at a time\)"),
        (KeyError("x"), RuntimeError, r"(?s)^a, in its worker process:\nTraceback .*KeyError: 'x'"),
    ],
)
def test_what_a_member_ended_with(work, error, kind, words):
    ended, made = work(error)
    assert type(ended) is kind and made == []
    with pytest.raises(kind, match=words):
        raise ended


def test_steps_are_told_ten_times_a_second_and_before_anything_else():
    here, there = Pipe()
    now = [0.0]
    relay = Relay(there, lambda: now[0])
    step = relay.task("a, epochs", 12, 3)
    for _ in range(30):
        now[0] += 1 / 64
        step(0.5)
    relay("said", {"text": "x"})
    told = []
    while here.poll():
        told.append(here.recv())
    assert told[0] == ("task", "a, epochs", 12, 3) and told[-1] == ("event", "said", {"text": "x"})
    assert [what for what, _ in told[1:-1]] == ["step"] * 5 and sum(n for _, n in told[1:-1]) == 15


def test_where_the_main_process_is_gone_a_worker_is_asked_to_stop_once():
    here, there = Pipe()
    relay = Relay(there)
    here.close()
    signals = []
    with signal_handler(lambda number, frame: signals.append(number)):
        relay.send("ready")
        relay.send("ready")
    assert signals == [signal.SIGTERM]


def test_nothing_is_told_after_a_signal_in_the_middle_of_a_word():
    """Half a message stands in the socket: what followed would be read as the rest of it."""
    told = []

    def send(words):
        told.append(words)
        raise Stopped(signal.SIGTERM)

    relay = Relay(SimpleNamespace(send=send))
    with pytest.raises(Stopped):
        relay.send("ready")
    relay.send("made", None)
    assert told == [("ready",)]


@pytest.mark.parametrize(
    ("status", "words"),
    [(-9, "was killed (SIGKILL)"), (-11, "was ended by SIGSEGV"), (1, "ended with status 1"), (0, "with status 0")],
)
def test_how_a_process_ended(status, words):
    assert words in member_pool.describe_exit(status)
