"""The search on a cluster of separate processes, and what survives a worker that dies."""

import os
import pickle
import signal

import joblib
import numpy as np
import pytest

from ensemble import neighbours
from ensemble.kernels import amx
from ensemble.neighbours import block_search as engine
from ensemble.neighbours import knn
from ensemble.neighbours.similarity import as_source
from tests.features import clustered


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """Two members' features as memory maps."""
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(0)
    for name, dims in (("a", 32), ("b", 48)):
        np.save(folder / f"{name}.npy", clustered(rng, 1200, dims, 100))
    return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("a", "b")]


@pytest.fixture
def client():
    """Two worker processes on this machine, one thread each."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as found,
    ):
        yield found


def search(feats, **options):
    return neighbours.nearest(feats, 21, weights=[1.0, 0.5], n_query=200, top_k=60, superblock=150, **options)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("order", "dist", "farthest", "near_order", "near_dist")
    )


@pytest.mark.filterwarnings("default")
def test_dask_gives_the_lists_of_one_process_though_a_worker_dies(mapped, client):
    alone, killed = search(mapped, n_jobs=1), []

    def kill_one(done, of):
        if not killed and done >= of // 4:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    with joblib.parallel_config(backend="dask", n_jobs=-1):
        together = search(mapped, progress=kill_one)
    assert killed
    assert same(alone, together)


@pytest.mark.parametrize("format_", ["FLOAT16", "BFLOAT16"])
def test_a_cpu_without_the_format_gives_the_same_lists(mapped, monkeypatch, format_):
    """A cluster's machines differ: a search is begun where the CPU multiplies the half-precision format, here by its
    word, and all its pairs come to machines that do not. They take float32, in the units of the format that was chosen:
    were they others, every image would be a candidate, and every row be done again as a whole."""
    alone, kind = search(mapped, precision="float32"), getattr(amx, format_)
    formats, kinds, again, original = [(kind,)], [], [], engine.run_search_task

    def elsewhere(home, source, chosen, pair):
        formats[0] = ()
        kinds.append(chosen.kind)
        return original(home, source, chosen, pair)

    monkeypatch.setattr(amx, "formats", lambda: formats[0])
    monkeypatch.setattr(knn, "run_search_task", elsewhere)
    whole = engine.exact_lists_from_rows
    monkeypatch.setattr(engine, "exact_lists_from_rows", lambda *asked: again.append(asked[1]) or whole(*asked))
    assert same(alone, search(mapped))
    assert len(kinds) > 10 and set(kinds) == {kind} and again == []


def test_a_map_travels_as_its_name(mapped):
    source = as_source(mapped, [1.0, 0.5])
    message = pickle.dumps(source)
    assert len(message) < 1000
    for sent, got in zip(source.members, pickle.loads(message).members, strict=True):
        np.testing.assert_array_equal(sent, got)
    part = pickle.loads(pickle.dumps(as_source([a[300:700] for a in mapped])))
    np.testing.assert_array_equal(part.members[1], mapped[1][300:700])
