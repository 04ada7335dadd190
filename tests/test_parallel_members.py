"""Members made side by side: the bytes of one after another, and what becomes of workers that fail or are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from configs.console.signals import Stopped
from configs.errors import TrainingError
from configs.schema import Member
from ensemble import build
from ensemble.pipeline import member_pool
from ensemble.pipeline.member_pool import WorkerPool
from models import registry
from tests.conftest import MEMBERS, ROOT, TINY

SMALL = [
    *TINY,
    *("--set", "recipe.epochs=6", "--set", "recipe.checkpoint_every=1"),
]


def argv(people, runs, *more, members="a,b"):
    return ["--members", members, "--data", str(people), "--out", str(runs), *SMALL, *more]


def events(runs):
    lines = (runs / "logs" / "build.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def made(runs):
    """Every byte that members make and what is made of them: of their metrics all but the seconds."""
    found = {}
    for path in runs.glob("*/[!.]*/*"):
        key = path.relative_to(runs).as_posix()
        if path.name == "epochs.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[key] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
        elif not key.startswith("builds/") and not (key.startswith("members/") and path.name == "manifest.json"):
            found[key] = path.read_bytes()
    return found


def gone(pids):
    """Whether all of these processes end within a minute."""
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture(scope="module")
def one_thread():
    """Sums of one thread here, and so in the workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alone(people, tmp_path_factory, one_thread):
    """The results of members made one after another."""
    runs = tmp_path_factory.mktemp("alone") / "runs"
    build.main(argv(people, runs))
    return runs


@pytest.fixture
def on_event(monkeypatch):
    """on_event(act): act(worker, event, fields) is called for all that workers tell, before it is told here."""

    def arm(act):
        real = WorkerPool._tell

        def tell(pool, worker, event, fields):
            act(worker, event, fields)
            real(pool, worker, event, fields)

        monkeypatch.setattr(WorkerPool, "_tell", tell)

    return arm


@pytest.fixture
def forked_workers(forked, monkeypatch):
    """From here on workers need not import torch first; call it where the ones before were started from nothing."""
    return lambda: monkeypatch.setattr(member_pool, "subprocess", SimpleNamespace(Popen=forked.start, DEVNULL=None))


# ----------------------------------------------------------------------------------------------------- whole builds


def test_stopped_and_gone_on_with_the_bytes_are_those_of_one_after_another(
    alone, people, tmp_path, on_event, forked_workers, capsys
):
    """Ctrl-C after the first epoch of whoever comes first; then the same command."""
    runs, interrupted = tmp_path / "runs", []

    def press(worker, event, fields):
        if event == "epoch" and not interrupted:
            interrupted.append(fields["member"])
            os.kill(os.getpid(), signal.SIGINT)

    on_event(press)
    with pytest.raises(Stopped) as stopped:
        build.main(argv(people, runs, "--parallel", "2"))
    assert stopped.value.number == signal.SIGINT and f"{interrupted[0]} is saved after epoch" in stopped.value.kept
    told = events(runs)
    workers = {e["pid"] for e in told} - {os.getpid()}
    assert len(workers) <= 2 and gone(workers) and told[-1]["event"] == "failed"
    begun, ended = ([e["key"] for e in told if e["event"] in which] for which in ("begun", ("done", "stopped")))
    assert sorted(begun) == sorted(ended)
    for state in runs.glob("members/.*.part/resume/state.json"):
        point = json.loads(state.read_text())["point"]
        assert f"{state.parts[-3][1]} is saved after epoch {point['epoch']}" in stopped.value.kept
    capsys.readouterr()
    forked_workers()
    build.main(argv(people, runs, "--parallel", "2"))
    said = capsys.readouterr().err
    assert "members: 2 at a time on the CPU" in said and f"{interrupted[0]}: going on after epoch" in said
    assert made(runs) == made(alone)
    assert not [e for e in events(runs) if e.get("kind") == "images" and e["pid"] != os.getpid()]  # nor hashed there
    assert len({e["pid"] for e in events(runs) if e["event"] == "done" and e["kind"] == "features"}) == 2


def weights_too_large(folder):
    """A file of weights that fits the backbone of `a`, and makes features that are not finite."""
    net = registry.make_net(Member.model_validate({"name": "a", "backbone": yaml.safe_load(MEMBERS["a"])}), 2)
    state = {k: v.contiguous() for k, v in net.backbone.state_dict().items()}
    state["conv1.weight"].fill_(3e38)
    save_file(state, folder / "large.safetensors")
    return folder / "large.safetensors"


def test_members_that_fail_are_given_up_and_the_others_are_trained(
    alone, people, tmp_path, on_event, forked_workers, capsys
):
    """The first one's numbers go wrong, the second one's process is killed; the third is as it always is."""
    weights = weights_too_large(tmp_path)
    broken = f"members.c={{backbone: {MEMBERS['a']}, weights: {{file: {weights}}}}}"
    runs, killed = tmp_path / "runs", []

    def kill(worker, event, fields):
        if event == "training" and fields["member"] == "b":
            killed.append(worker.process.pid)
            worker.process.kill()

    on_event(kill)
    forked_workers()
    more = ["--set", broken, "--set", "recipe.pretrained=true", "--parallel", "2"]
    with pytest.raises(TrainingError) as given_up:
        build.main(argv(people, runs, *more, members="c,b,a"))
    message, said = str(given_up.value), capsys.readouterr().err
    assert "c: the features of 8 of 8 images are not finite in epoch 1, batch 1 of 7" in message
    assert "b: its process was killed (SIGKILL), probably for lack of memory" in message
    assert "b failed; the other members are still trained" in said
    told = [e["event"] for e in events(runs) if e.get("key", "").startswith("members/b")]
    assert len(killed) == 1 and told == ["begun", "stopped"]
    (good,) = runs.glob("members/a-*/weights.safetensors")
    assert good.read_bytes() == next(alone.glob("members/a-*/weights.safetensors")).read_bytes()
    assert [p.name[0] for p in runs.glob("features/[!.]*")] == ["a"] and not list(runs.glob("rankings/*"))


@pytest.mark.slow
def test_workers_whose_main_process_was_killed_save_and_end(alone, people, tmp_path, capsys):
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "ensemble.build", *argv(people, runs, "--parallel", "2")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(runs.glob("members/.*.part/epochs.jsonl")):
            time.sleep(0.01)
        process.kill()
    assert gone({e["pid"] for e in events(runs)})
    states = [json.loads(p.read_text())["point"] for p in runs.glob("members/.*.part/resume/state.json")]
    assert states and any(point["batch"] for point in states)  # after the batch in hand, and not at a checkpoint's turn
    build.main(argv(people, runs))
    assert "going on after epoch" in capsys.readouterr().err
    assert made(runs) == made(alone)


@pytest.mark.slow
def test_rounds_side_by_side_are_those_of_one_after_another(alone, people, tmp_path):
    rounds = ["--rounds", "2", "--set", "ensemble.pseudo.threshold=0.3", "--set", "recipe.epochs=1"]
    build.main(argv(people, tmp_path / "alone", *rounds))
    build.main(argv(people, tmp_path / "runs", *rounds, "--parallel", "2"))
    assert made(tmp_path / "runs") == made(tmp_path / "alone")


# ------------------------------------------------------------------------------------------------------ on a device


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch sees no CUDA device")
def test_two_members_on_one_card_have_the_bytes_of_one_after_another(people, tmp_path):
    """Weights and features; a lone build is made twice, so that it is known which promise did not hold."""

    def build_members(name, *more):
        command = [sys.executable, "-c", MEMBERS_ALONE, *argv(people, tmp_path / name, "--device", "cuda", *more)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        files = [p for kind in ("members/*/*.safetensors", "features/*/*.npy") for p in (tmp_path / name).glob(kind)]
        return {p.relative_to(tmp_path / name).as_posix(): p.read_bytes() for p in files}, done.stderr

    (one, _), (again, _) = build_members("one"), build_members("again")
    assert len(one) == 4 and one == again, "one after another, twice: training itself does not repeat on this card"
    both, said = build_members("both", "--parallel", "2")
    assert "members: 2 at a time on" in said and both == one


MEMBERS_ALONE = """
import sys
from ensemble import build, carry_out
from ensemble.pipeline.run_stages import make_members
from ensemble.pipeline.stages import features

def members_and_features(context, plan):  # and no ranking: its kernels take longer to compile than all of this
    make_members(context, plan)
    for member in context.config.members:
        features(context, plan, member, "test")
    raise SystemExit(0)

carry_out.run_stages = members_and_features
build.main(sys.argv[1:])
"""
