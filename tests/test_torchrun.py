"""`torchrun -m ensemble.build`: several processes, one build; and one of them killed."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests.conftest import ROOT, TINY, run_command

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def torchrun(*argv, cwd=ROOT, **env):
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths} | env
    return subprocess.run([*TORCHRUN, *map(str, argv)], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def build(people, runs):
    return ["--members", "a", "--data", people, "--out", runs, *TINY, "--device", "cpu"]


def weights(runs):
    (path,) = runs.glob("members/*/weights.safetensors")
    return load_file(path)


def test_two_processes_make_one_build(people, tmp_path):
    done = torchrun("-m", "ensemble.build", *build(people, tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr and done.stderr.count("training a, 1 epochs") == 1
    assert len(done.stdout.splitlines()) == 1  # the folder of the build, said by the one that leads
    again = run_command("ensemble.build", *build(people, tmp_path / "runs"))
    assert again.returncode == 0 and "kept: a; to make: none" in again.stderr
    assert again.stdout == done.stdout


KILLED = """
import os, signal, sys
from ensemble import build
from models import train
real, calls = train.normalise, []

def normalise(*args, **kwargs):
    calls.append(1)
    first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    if os.environ["KILL"] == os.environ["RANK"] and first and len(calls) == 16:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)

train.normalise = normalise
build.main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_process_is_started_again_and_training_goes_on(people, tmp_path, rank):
    """Killed in the third epoch; the end is that of a run that nobody killed, bit for bit."""
    script = tmp_path / "build.py"
    script.write_text(KILLED)

    def run(name, kill):
        argv = [*build(people, tmp_path / name), "--set", "recipe.epochs=4", "--set", "recipe.checkpoint_every=1"]
        return torchrun("--max-restarts", "1", script, *argv, KILL=kill)

    killed, whole = run("killed", rank), run("whole", "none")
    assert (killed.returncode, whole.returncode) == (0, 0), killed.stderr
    assert "going on after epoch" in killed.stderr and "going on" not in whole.stderr
    one, other = weights(tmp_path / "killed"), weights(tmp_path / "whole")
    assert one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)
