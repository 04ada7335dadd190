"""Call a command from Python: keywords become command-line arguments, so both have the same checks."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from types import ModuleType
from typing import Any

from configs.console.command import CommandLine
from configs.console.quoting import yaml_flow
from configs.errors import ConfigError


def read_call(parser: CommandLine, given: Mapping[str, Any]) -> argparse.Namespace:
    """Parse keywords as if they were a command line.

    Raises:
        ConfigError: a value that the command rejects.
    """
    words = as_words(parser, given)
    parser.exit_on_error = False
    try:
        return parser.parse_args(words)
    except argparse.ArgumentError as e:
        name = (e.argument_name or "").lstrip("-").replace("-", "_")
        raise ConfigError(f"{name}: {e.message}") from e


def as_words(parser: CommandLine, given: Mapping[str, Any]) -> list[str]:
    """The equivalent command line, without options at their defaults.

    Args:
        parser: the command's parser.
        given: option name, with `_` for `-`, -> text, number or path; True or False for a flag; a list for an option
            that may be repeated. A namespace that `parser` returned also works.
    """
    options = {action.dest: action for action in parser._actions if action.help != argparse.SUPPRESS}
    words: list[str] = []
    for name, value in given.items():
        option, default = options[name].option_strings[0], options[name].default
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise ConfigError(f"{name}: {value!r}; wanted True or False")
            words += [option] * value
        elif isinstance(default, list):
            for text in [value] if isinstance(value, str) else _several(name, value):
                words += _option(option, _text(name, text))
        elif value is not None or default is not None:
            text = _text(name, value)
            words += _option(option, text) if text != str(default) else []
    return words


def settings(given: Mapping[str, Any] | Iterable[str] | str) -> Iterable[str]:
    """Settings as `--set` takes them: `{"ensemble.k1": 20}` becomes `ensemble.k1=20`. Texts are unchanged.

    Raises:
        ConfigError: a value that YAML cannot express.
    """
    if not isinstance(given, Mapping):
        return given
    try:
        return [f"{key}={yaml_flow(_plain(value))}" for key, value in given.items()]
    except TypeError as e:
        raise ConfigError(f"set: {dict(given)!r} ({e}); wanted texts, numbers, lists and mappings of them") from e


def call_as(name: str, function: Callable[..., Any]) -> None:
    """Make a module callable: calling it calls the function."""

    class Called(ModuleType):
        def __call__(self, *args: Any, **keywords: Any) -> Any:
            return function(*args, **keywords)

    module = sys.modules[name]
    module.__class__ = Called
    module.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    Called.__call__.__doc__ = function.__doc__


def _option(option: str, text: str) -> list[str]:
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


def _several(name: str, value: Any) -> list[Any]:
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f"{name}: {value!r}; wanted a text, or a list of texts")
    return list(value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | os.PathLike | Real):
        raise ConfigError(f"{name}: {value!r} is of type {type(value).__name__}; wanted a text, a number or a path")
    return str(value)


def _plain(value: Any) -> Any:
    """NumPy numbers as Python numbers, and paths as text."""
    if isinstance(value, Mapping):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | None):
        return value
    if isinstance(value, os.PathLike):
        return str(value)
    return int(value) if isinstance(value, Integral) else float(value) if isinstance(value, Real) else value
