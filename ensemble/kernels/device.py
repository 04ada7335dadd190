"""Choose the device of the retrieval."""

import functools
import importlib.util
import logging
from typing import Any

from configs.errors import ConfigError
from configs.installed import install

DEVICES = ("auto", "cpu", "cuda")
CUDA = 2  # DLPack's number of that kind of device
log = logging.getLogger(__name__)


@functools.cache
def cuda_problem() -> str | None:
    """None if a CUDA device can be used through CuPy, else the reason."""
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed ({install('cuda13')}, or cuda12 for an older driver)"
    from ensemble.kernels.cuda import card

    return card.problem()


def lies_on_card(array: Any) -> bool:
    """Whether a value is an array on a CUDA device: of CuPy, torch or any library with DLPack."""
    says = getattr(array, "__dlpack_device__", None)
    return says is not None and says()[0] == CUDA


def check_device(asked: str) -> None:
    """Check early that `--device cuda` is possible.

    Raises:
        ConfigError: no usable CUDA device.
    """
    problem = cuda_problem() if asked == "cuda" else None
    if problem is not None:
        raise ConfigError(f"device 'cuda' cannot be used: {problem}; use 'cpu' or 'auto'")


def choose(device: str, feats: Any = ()) -> str:
    """Resolve the device to cpu or cuda. auto uses cuda if there is one, and logs its choice.

    feats: the array or arrays to read.

    Raises:
        ConfigError: cuda without a usable device.
        ValueError: unknown device, or cpu for arrays on a CUDA device.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}; there are: {', '.join(DEVICES)}")
    if device == "cpu":
        given = feats if isinstance(feats, list | tuple) else getattr(feats, "members", [feats])
        if any(lies_on_card(a) for a in given):
            raise ValueError(
                "device 'cpu' and features on a CUDA device: use 'auto' or 'cuda', or copy them to the host first"
            )
        return "cpu"
    problem = cuda_problem()
    if problem is None:
        log.info("retrieval on cuda%s", " (auto: a device answers)" if device == "auto" else "")
        return "cuda"
    check_device(device)
    log.info("retrieval on cpu (auto: %s)", problem)
    return "cpu"
