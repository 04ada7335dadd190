"""Quote commands and options for YAML and the shell, so that printed commands can be pasted."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.installed import PREFIX

RUNS = Path("runs")  # the default folder of results
PLAIN = re.compile(r"(?=.*[g-wyz])[a-z0-9/][\w./-]*", re.ASCII | re.IGNORECASE)  # has a letter that no number has
WORDS = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"}  # YAML reads these as other types


def set_option(key: str, value: Any) -> str:
    """A `--set` option quoted for the shell and YAML, such as `--set 'competition.skip={query: [a.jpg]}'`."""
    return f"--set {shlex.quote(f'{key}={yaml_flow(value)}')}"


def command(module: str, *words: object) -> str:
    """A command quoted for the shell, such as `python -m submit.make --runs 'my runs'`.

    As installed, the module has its longer name.
    """
    return shlex.join(["python", "-m", PREFIX + module, *map(str, words)])


def runs_option(runs: Path) -> list[str]:
    """`--runs` and its value, unless it is the default."""
    return [] if runs == RUNS else ["--runs", str(runs)]


def yaml_flow(value: Any) -> str:
    """A value of texts, numbers, lists and mappings as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{yaml_flow(k)}: {yaml_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(yaml_flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)  # JSON text is YAML, except for unprintable characters
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def visible(text: str) -> str:
    """Escape the control characters in untrusted text, so that it cannot control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
