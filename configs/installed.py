"""How the package is installed: the prefix of its module names, and its optional dependencies (extras)."""

from __future__ import annotations

import importlib.util

from configs.errors import ConfigError

PREFIX = __name__.removesuffix("configs.installed")  # "" in a clone, the package and a dot as installed


def need(extra: str, *modules: str) -> None:
    """Check that the modules of an extra are installed.

    Raises:
        ConfigError: one is missing. The message has the command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{' and '.join(missing)} {are} not installed; run {install(extra)}")


def install(extra: str) -> str:
    """The command that installs an extra; in a clone, it runs in the clone's folder."""
    return f'pip install "{"reid-ensemble" if PREFIX else "."}[{extra}]"'
