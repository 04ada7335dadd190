"""Submission formats. One file each; a new one is a file and a line in `FORMATS`."""

from __future__ import annotations

from configs.errors import ConfigError
from submit.formats.base import Format
from submit.formats.naic_json import NAIC_JSON

FORMATS: dict[str, Format] = {
    "naic_json": NAIC_JSON,
}


def format_of(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; submit/formats has: {', '.join(FORMATS)}")
    return FORMATS[name]
