"""How the package is installed: what begins its modules' names, and the extras that bring what not everybody needs."""

from __future__ import annotations

import importlib.util

from configs.errors import ConfigError

PREFIX = __name__.removesuffix("configs.installed")  # nothing in a clone, the wheel's one name and a dot as installed


def need(extra: str, *modules: str) -> None:
    """What an extra brings must be there.

    Raises:
        ConfigError: it is not; the sentence says what to type.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{' and '.join(missing)} {are} not installed; {install(extra)} brings what is missing")


def install(extra: str) -> str:
    """The command that brings an extra; in a clone it is typed in its folder."""
    return f'pip install "{"reid-ensemble" if PREFIX else "."}[{extra}]"'
