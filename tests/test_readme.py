"""The examples that the pages show are run as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest

from ensemble.features import external
from tests.features import clustered

ROOT = Path(__file__).parent.parent
QUERIES, N = 40, 300


def examples(page):
    """The Python blocks of a page, and the calls of its table of wishes."""
    text = (ROOT / page).read_text(encoding="utf-8")
    wishes = re.findall(r"^\| [^|`]* \| (.*`.*) \|$", text, re.M)
    calls = [call for row in wishes for call in re.findall(r"`([^`]*\))`", row) if "..." not in call]
    return re.findall(r"```python\n(.*?)```", text, re.S), calls


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the examples take for granted: two members on disk, a third in memory, and labels."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    members = [clustered(rng, N, d, 30) for d in (16, 24, 8)]
    np.save("a.npy", members[0])
    np.save("b.npy", members[1])
    pids, camids = rng.integers(0, 30, N), rng.integers(0, 3, N)
    sides = {"query_pids": pids[:QUERIES], "gallery_pids": pids[QUERIES:]}
    cameras = {"query_camids": camids[:QUERIES], "gallery_camids": camids[QUERIES:]}
    dist = 1 - members[0] @ members[0].T
    q = slice(QUERIES)
    parts = {"qq": dist[q, q], "qg": dist[q, QUERIES:], "gg": dist[QUERIES:, QUERIES:]}
    return sides | cameras | parts | {"camids": camids, "domains": camids % 2}


def test_the_readmes_own_features(names, capsys):
    (block,), _ = examples("README.md")
    exec(compile(block, "README.md", "exec"), names)
    assert names["order"].shape == (QUERIES, 200) and 0 < names["score"].map <= 1
    assert names["score"].signature in capsys.readouterr().out


def test_retrievals_wishes_and_other_weights(names, capsys):
    (block,), _ = examples("README.md")
    exec(compile(block, "README.md", "exec"), names)
    blocks, calls = examples("docs/retrieval.md")
    exec(compile(blocks[0], "docs/retrieval.md", "exec"), names)
    assert len(calls) >= 6
    for call in calls:
        exec(compile(call, "docs/retrieval.md", "exec"), names)
    exec(compile(blocks[1], "docs/retrieval.md", "exec"), names)
    assert len(names["pool"].dist) == 2 and names["order"].shape == (QUERIES, 200)
    exec(compile(blocks[2], "docs/retrieval.md", "exec"), names)
    assert names["order"].shape == (N, 200) and "|junk=itself|" in names["score"].signature
    assert (names["order"] != np.arange(N)[:, None]).all()


def test_a_member_from_outside(names):
    blocks, _ = examples("docs/desk.md")
    (block,) = (b for b in blocks if "np.savez" in b)
    rows = clustered(np.random.default_rng(1), 5, 6, 2)
    exec(block.replace("feats = ...", "feats = rows"), {"names": list("abcde"), "rows": rows})
    with np.load("other.npz") as kept:
        assert kept["names"].tolist() == list("abcde") and np.array_equal(kept["feats"], rows)
    external.save("again.npz", list("abcde"), rows)
