"""Competitions: ranking in; files, scores and the score table out. In Python: `submit.make(...)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from submit.make import make as make
else:

    def __getattr__(name: str) -> Any:
        """Import `make` on first use: numba takes seconds to import."""
        if name == "make":  # the module, which is callable
            return import_module(f"{__name__}.make")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "make"})
