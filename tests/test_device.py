"""Which device and which number format, on machines of every kind."""

import re

import pytest
import torch

from configs.errors import ConfigError
from models import device
from models.device import autocast, choose_device, choose_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def machine(monkeypatch):
    def has(cuda=False, bf16=False, mkldnn=True, native=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: mkldnn)
        monkeypatch.setattr(device, "_native_bf16", lambda: native)

    return has


@pytest.mark.parametrize(
    ("asked", "cuda", "kind", "why"),
    [("auto", True, "cuda", "H100"), ("cuda", True, "cuda", "H100"), ("cpu", True, "cpu", "threads$"),
     ("auto", False, "cpu", "threads, no CUDA device$"), ("cpu", False, "cpu", "no CUDA device$")],
)  # fmt: skip
def test_the_device_and_why(machine, asked, cuda, kind, why):
    machine(cuda=cuda)
    chosen, said = choose_device(asked)
    assert chosen.type == kind
    assert re.search(why, said)


def test_cuda_where_there_is_none_is_an_error_and_not_a_cpu(machine):
    machine(cuda=False)
    with pytest.raises(ConfigError, match=r"device 'cuda': .*no CUDA device.*; use 'cpu' or 'auto'"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("on", "has", "want"),
    [
        (CUDA, {"bf16": True}, "bfloat16"),
        (CUDA, {"bf16": False}, "float32"),
        (CPU, {"native": True}, "bfloat16"),
        (CPU, {"native": False}, "float32"),
        (CPU, {"native": True, "mkldnn": False}, "float32"),
    ],
)
def test_auto_is_bfloat16_only_where_it_is_computed_in(machine, on, has, want):
    """Emulated it is slower than float32, and no more exact."""
    machine(**has)
    assert choose_precision("auto", on) == want


@pytest.mark.parametrize("asked", ["float32", "bfloat16", "float16"])
def test_what_is_asked_for_is_taken(machine, asked):
    machine()
    assert choose_precision(asked, CUDA) == asked


def test_float16_on_a_cpu_is_refused(machine):
    machine()
    with pytest.raises(ConfigError, match=r"precision float16: a CPU .*use auto, bfloat16 or float32"):
        choose_precision("float16", CPU)
    assert choose_precision("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_autocast_computes_in_it_and_leaves_the_weights(precision, dtype):
    layer = torch.nn.Linear(4, 4)
    with autocast(CPU, precision):
        assert layer(torch.zeros(1, 4)).dtype == dtype
    assert layer.weight.dtype == torch.float32 and layer(torch.zeros(1, 4)).dtype == torch.float32


def test_this_machine_has_an_answer():
    chosen, said = choose_device("auto")
    assert choose_precision("auto", chosen) in ("float32", "bfloat16") and said
