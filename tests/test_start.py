"""What a command imports is what its users wait for, each time."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

SLOW = ("torch", "torchvision", "torch._dynamo", "timm", "numba", "scipy", "sklearn")  # 0.2 s to 2 s each
SCRIPT = f"""
import json, runpy, sys
module, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([name for name in {SLOW} if name in sys.modules]))
"""


def imported(module, *argv):
    """The slow packages that a command had imported by its end."""
    words = [sys.executable, "-c", SCRIPT, module, *map(str, argv)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("module", ["ensemble.build", "ensemble.runs", "submit.check"])
def test_help_needs_nothing_slow(module):
    assert imported(module, "--help")[0] == []


@pytest.mark.parametrize("module", ["submit.make", "submit.report", "ensemble.tune"])
def test_what_reads_a_build_needs_no_torch(module):
    assert not {"torch", "timm", "sklearn"} & set(imported(module, "--help")[0])


def test_a_build_with_nothing_to_make_builds_no_network(tiny_build):
    """Networks need torchvision, whose import takes as long as torch's."""
    slow, said = imported("ensemble.build", *tiny_build.argv)
    assert "nothing to make" in said and not {"torchvision", "torch._dynamo", "timm", "sklearn"} & set(slow)
