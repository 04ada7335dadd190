"""How kernels are compiled: by numba, without the interpreter's lock, kept in `__pycache__` beside the source.

This file alone names numba. The other kernels take `jit`, `fast`, `inlined` and what machine code needs from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numba.extending
from numba.core.caching import IndexDataCacheFile

intrinsic: Any = numba.extending.intrinsic
types: Any = numba.types
SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _Index(IndexDataCacheFile):
    """numba's index of one function's machine code. What cannot be read is compiled again.

    numba unpickles an index before it looks at its age, so a class that has a new name would end the command.
    """

    def _load_index(self) -> dict[Any, str]:
        try:
            found: dict[Any, str] = super()._load_index()
        except Exception:  # whatever reading it ends in: a class that is gone, half a file
            return {}
        return found


def compiled(**options: Any) -> Callable[..., Any]:
    """A decorator: machine code that is made again when any file of this folder has changed.

    numba looks at the function's own file alone; a kernel may have taken in a function of another.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        made = numba.njit(nogil=True, cache=True, **options)(function)
        cache = getattr(made, "_cache", None)  # with NUMBA_DISABLE_JIT there is none
        if cache is not None:
            file = cache._cache_file
            cache._cache_file = _Index(cache.cache_path, file._index_name.removesuffix(".nbi"), SOURCES)
        return made

    return decorate


jit = compiled()
fast = compiled(fastmath=True)
inlined = compiled(forceinline=True)
