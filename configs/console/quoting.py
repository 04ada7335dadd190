"""Commands and options as they may be typed: quoted for YAML and for the shell, so that they do what they say."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.installed import PREFIX

RUNS = Path("runs")  # the store of a command that is told of none
PLAIN = re.compile(r"(?=.*[g-wyz])[a-z0-9/][\w./-]*", re.ASCII | re.IGNORECASE)  # with a letter that no number has
WORDS = {"yes", "no", "on", "off", "y", "n", "true", "false", "null"}  # which YAML takes for something else


def set_option(key: str, value: Any) -> str:
    """`--set 'competition.skip={query: [a.jpg]}'`, which the shell and then YAML read back as this key and value."""
    return f"--set {shlex.quote(f'{key}={flow(value)}')}"


def command(module: str, *words: object) -> str:
    """`python -m submit.make --runs 'my runs'`, as it may be typed; as installed the module has its longer name."""
    return shlex.join(["python", "-m", PREFIX + module, *map(str, words)])


def on(runs: Path) -> list[str]:
    """The option that names a store, where it is not the default."""
    return [] if runs == RUNS else ["--runs", str(runs)]


def flow(value: Any) -> str:
    """A value of texts, numbers, lists and mappings as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS:
        return value
    text = json.dumps(value, ensure_ascii=False)  # JSON's quoted text is YAML's, but for what cannot be printed
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def visible(text: str) -> str:
    """A text from elsewhere as a terminal may have it: what would move its cursor or colour it is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
