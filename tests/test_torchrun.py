"""`torchrun -m ensemble.build`: several processes, one build; and one of them killed."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT, TINY, run_command


@pytest.fixture
def torchrun(forked):
    """torchrun(*argv, **env): two processes that start from nothing, by a `torchrun` that does not."""

    def run(*argv, **env):
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | env
        return forked.run("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *argv, env=env)

    return run


def build(people, runs):
    return ["--members", "a", "--data", people, "--out", runs, *TINY, "--device", "cpu"]


def weights(runs):
    (path,) = runs.glob("members/*/weights.safetensors")
    return load_file(path)


def test_two_processes_make_one_build(people, tmp_path, torchrun, forked):
    done = torchrun("-m", "ensemble.build", *build(people, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr and done.stderr.count("training a, 1 epochs") == 1
    assert len(done.stdout.splitlines()) == 1  # the folder of the build, said by the one that leads
    again = forked.run("-m", "ensemble.build", *build(people, tmp_path / "runs"))
    assert again.returncode == 0 and "kept: a; to make: none" in again.stderr
    assert again.stdout == done.stdout


SIGNALLED = """
import os, signal, sys
from configs.console.command import run
from ensemble import build
from models.training import step
real, calls = step.normalise, []
plan = dict(part.split(":") for part in os.environ["AT"].split() if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0")

def normalise(*args, **kwargs):
    calls.append(1)
    if plan.get(os.environ["RANK"]) == str(len(calls)):
        os.kill(os.getpid(), getattr(signal, os.environ["SIGNAL"]))
    return real(*args, **kwargs)

step.normalise = normalise
run(lambda: build.main(sys.argv[1:]))
"""


@pytest.fixture
def trained(people, tmp_path, torchrun):
    """trained(name, at): 4 epochs of 7 batches by two processes, which get a signal in batches such as "0:9 1:12"."""
    script = tmp_path / "build.py"
    script.write_text(SIGNALLED)

    def run(name, at="", number="SIGKILL"):
        argv = [*build(people, tmp_path / name), "--set", "recipe.epochs=4", "--set", "recipe.checkpoint_every=1"]
        return torchrun("--max-restarts", int(number == "SIGKILL"), script, *argv, AT=at, SIGNAL=number)

    return run


def same_weights(one, other):
    one, other = weights(one), weights(other)
    return one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_is_started_again_and_training_goes_on(trained, tmp_path, rank):
    """Killed in the third epoch; the end is that of a run that nobody killed, bit for bit."""
    killed, whole = trained("killed", f"{rank}:16"), trained("whole")
    assert (killed.returncode, whole.returncode) == (0, 0), killed.stderr
    assert "going on after epoch" in killed.stderr and "going on" not in whole.stderr
    assert same_weights(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_processes_asked_to_stop_in_different_batches_stop_after_one(trained, tmp_path):
    """The first to be asked is in batch 10, which is the third of the second epoch; one says how to go on."""
    stopped = trained("stopped", "1:10 0:12", "SIGTERM")
    assert stopped.returncode != 0
    assert stopped.stderr.count("stopped; a is saved after epoch 1 and 3 batches; finished results are kept.") == 1
    assert stopped.stderr.count("To resume:\n  torchrun --nproc-per-node 2 ") == 1
    again, whole = trained("stopped"), trained("whole")
    assert (again.returncode, whole.returncode) == (0, 0), again.stderr
    assert "a: going on after epoch 1 and 3 batches of 4" in again.stderr
    assert same_weights(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_make_rounds(people, tmp_path, torchrun):
    """Labels are made once, by the one that leads; one process finds all of it kept."""
    argv = [*build(people, tmp_path / "runs"), "--rounds", "2", "--set", "ensemble.pseudo.threshold=0.3"]
    done = torchrun("-m", "ensemble.build", *argv)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training a, 1 epochs") == 2 and done.stderr.count("round 2: labelling") == 1
    assert "Warning" not in done.stderr
    again = run_command("ensemble.build", *argv)
    assert again.returncode == 0 and "round 1: kept: a;" in again.stderr and "round 2: kept: a;" in again.stderr
    assert again.stdout == done.stdout


@pytest.mark.slow
def test_members_side_by_side_are_those_of_one_build(tiny_build, tmp_path):
    """A build a member, both at once on one folder, then one over both: every weight and feature as in one build."""
    argv = ["--data", tiny_build.people, "--out", tmp_path / "runs", *TINY]
    command = [sys.executable, "-m", "ensemble.build", *map(str, argv), "--members"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([*command, m], cwd=ROOT, env=env, stderr=subprocess.DEVNULL) for m in "ab"]
    assert [one.wait() for one in both] == [0, 0]
    done = run_command("ensemble.build", *argv, "--members", "a,b")
    assert done.returncode == 0 and "kept: a, b; to make: none" in done.stderr

    def made(runs):
        files = [p for kind in ("members/*/*.safetensors", "features/*/*.npy") for p in runs.glob(kind)]
        return {p.relative_to(runs): p.read_bytes() for p in files}

    assert len(made(tmp_path / "runs")) >= 4 and made(tmp_path / "runs") == made(tiny_build.runs)
