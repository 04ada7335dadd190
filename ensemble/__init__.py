"""Ensembles of members: features in, ranking out. In Python: `ensemble.build(...)`, `ensemble.open_build(...)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.build import build as build
    from ensemble.finished import open_build as open_build
else:

    def __getattr__(name: str) -> Any:
        """Import `build` and `open_build` on first use: torch takes seconds to import."""
        if name == "build":  # the module, which is callable
            return import_module(f"{__name__}.build")
        if name == "open_build":
            return import_module(f"{__name__}.finished").open_build
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "build", "open_build"})
