"""What several test files share: drawn people, and one tiny build of them, both made once a session."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs.console.signals import Stopped
from ensemble import build, carry_out
from models.data.drawn import draw_people
from tests.forked import Nursery

ROOT = Path(__file__).parent.parent
MEMBERS = {"a": "{name: resnet, depth: 26, base: 16}", "b": "{name: resnet, depth: 26, base: 16, ibn: a}"}
TINY = [
    *(part for name, row in MEMBERS.items() for part in ("--set", f"members.{name}={{backbone: {row}}}")),
    *shlex.split(
        "--layout drawn --set recipe.epochs=1 --set recipe.size=[64,32] --set recipe.pretrained=false "
        "--set recipe.identities_per_batch=4 --set recipe.images_per_identity=2 --set recipe.precision=float32"
    ),
]


def run_command(module, *argv, cwd=ROOT):
    """`python -m module argv...` in a process of its own, on one thread, as a user would."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    command = [sys.executable, "-m", module, *map(str, argv)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def not_begun(*argv):
    """The context and the plan of a build by these arguments, which ends before it makes anything."""
    seen = []

    def catch(context, plan, benchmark):
        seen.append((context, plan))
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(carry_out, "describe_rounds", catch)
        build.main([*map(str, argv)])
    return seen[0]


@pytest.fixture(scope="session")
def forked():
    """forked.start(command, ...), forked.run(*argv, ...): a process that need not import torch first."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@dataclass(frozen=True)
class Build:
    """A finished build: the folder of the pictures, the folder of results, the command's arguments and what it said;
    and the keys of the results that it made, since other commands that are tested add theirs.
    """

    people: Path
    runs: Path
    argv: tuple[str, ...]
    out: str
    err: str
    made: frozenset[str]


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """12 drawn people: 6 to train on and 6 to test, 64x32."""
    return draw_people(tmp_path_factory.mktemp("drawn") / "people", ids=12, size=(64, 32), n_jobs=1)


@pytest.fixture(scope="session")
def tiny_build(people, tmp_path_factory):
    """Two narrow members trained for an epoch on the drawn people, by the command itself. Not to be written to."""
    runs = tmp_path_factory.mktemp("built") / "runs"
    argv = ("--members", "a,b", "--data", str(people), "--out", str(runs), *TINY)
    done = run_command("ensemble.build", *argv)
    assert done.returncode == 0, done.stderr
    made = frozenset(p.parent.relative_to(runs).as_posix() for p in runs.glob("*/*/manifest.json"))
    return Build(people, runs, argv, done.stdout, done.stderr, made)
