"""Which device the retrieval runs on, and why."""

import functools
import importlib.util
import logging

DEVICES = ("auto", "cpu", "cuda")
log = logging.getLogger(__name__)


@functools.cache
def cuda_problem() -> str | None:
    """None where a CUDA device can be used through CuPy, else why not."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    from ensemble.kernels import cuda

    return cuda.problem()


def choose(device: str) -> str:
    """cpu or cuda; auto takes cuda where there is one, and logs which it took and why.

    Raises:
        ValueError: unknown device, or cuda where there is none.
    """
    if device not in DEVICES:
        raise ValueError(f"unknown device {device!r}; there are: {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    problem = cuda_problem()
    if problem is None:
        log.info("retrieval on cuda%s", " (auto: a device answers)" if device == "auto" else "")
        return "cuda"
    if device == "cuda":
        raise ValueError(f"device 'cuda' cannot be used: {problem}; use 'cpu' or 'auto'")
    log.info("retrieval on cpu (auto: %s)", problem)
    return "cpu"
