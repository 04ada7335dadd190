"""Machine code is kept, and made again when any kernel's source has changed."""

import importlib.util
import pickle

import numba
import pytest

from ensemble.kernels import compile as compiling
from ensemble.kernels import topk

SOURCE = "from ensemble.kernels.compile import jit\n\n\n@jit\ndef twice(x):\n    return x + x\n"
pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@pytest.fixture
def twice(tmp_path):
    """A kernel in a file of its own; called again it is as a new process would have it."""
    (tmp_path / "kernel.py").write_text(SOURCE)

    def load():
        spec = importlib.util.spec_from_file_location("kernel", tmp_path / "kernel.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.twice(4) == 8
        return sum(module.twice.stats.cache_hits.values())

    return load


def test_it_is_kept_from_one_process_to_the_next(twice):
    assert [twice(), twice()] == [0, 1]


def test_a_change_of_another_kernels_file_makes_it_again(twice, monkeypatch):
    twice()
    monkeypatch.setattr(compiling, "SOURCES", "of other files")
    assert twice() == 0
    assert topk.seed._cache._cache_file._source_stamp != "of other files"


def test_an_index_that_names_a_class_that_is_gone_is_made_again(twice, tmp_path):
    """As after an update that renamed a class: unpickling fails before any stamp is looked at."""
    twice()
    (index,) = (tmp_path / "__pycache__").glob("*.nbi")
    gone = b"\x80\x04censemble.kernels.topk\nPool\n."
    index.write_bytes(pickle.dumps(numba.__version__) + gone)
    with pytest.raises(AttributeError, match="Pool"):
        pickle.loads(gone)
    assert [twice(), twice()] == [0, 1]
