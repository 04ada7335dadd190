"""Many members: features in, ranking out. In Python: `ensemble.build(...)`, `ensemble.open_build(...)`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ensemble.build import build as build
    from ensemble.finished import open_build as open_build
else:

    def __getattr__(name: str) -> Any:
        """Both are imported when they are asked for: torch takes seconds."""
        if name == "build":  # the module, which may be called
            return import_module(f"{__name__}.build")
        if name == "open_build":
            return import_module(f"{__name__}.finished").open_build
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "build", "open_build"})
