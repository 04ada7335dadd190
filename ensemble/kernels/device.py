"""Which device the retrieval runs on, and why."""

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
    """None where a CUDA device can be used through CuPy, else why not."""
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed ({install('cuda13')}, or cuda12 for an older driver)"
    from ensemble.kernels.cuda import card

    return card.problem()


def lies_on_card(array: Any) -> bool:
    """Whether something is an array on a CUDA device: CuPy's, torch's, anything that speaks DLPack."""
    says = getattr(array, "__dlpack_device__", None)
    return says is not None and says()[0] == CUDA


def check_device(asked: str) -> None:
    """`--device cuda` wants a card, before anything is opened.

    Raises:
        ConfigError: there is none that can be used.
    """
    problem = cuda_problem() if asked == "cuda" else None
    if problem is not None:
        raise ConfigError(f"device 'cuda' cannot be used: {problem}; use 'cpu' or 'auto'")


def choose(device: str, feats: Any = ()) -> str:
    """cpu or cuda; auto takes cuda where there is one, and logs which it took and why.

    feats: what is to be read, an array or several.

    Raises:
        ConfigError: cuda where there is none. ValueError: unknown device, or cpu for arrays that lie on a CUDA device.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}; there are: {', '.join(DEVICES)}")
    if device == "cpu":
        given = feats if isinstance(feats, list | tuple) else getattr(feats, "members", [feats])
        if any(lies_on_card(a) for a in given):
            raise ValueError(
                "device 'cpu' and features on a CUDA device: use 'auto' or 'cuda', or bring them here first"
            )
        return "cpu"
    problem = cuda_problem()
    if problem is None:
        log.info("retrieval on cuda%s", " (auto: a device answers)" if device == "auto" else "")
        return "cuda"
    check_device(device)
    log.info("retrieval on cpu (auto: %s)", problem)
    return "cpu"
