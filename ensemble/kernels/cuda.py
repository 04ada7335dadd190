"""Neighbour search on a CUDA device, through CuPy. This file alone names cupy."""


def problem() -> str | None:
    """None where a CUDA device answers, else why not."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error})"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no CUDA device answers ({error})"
    return None if count else "there is no CUDA device"
