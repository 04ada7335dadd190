"""Submission formats. One file each; a new one is a file and a line in `FORMATS`."""

from __future__ import annotations

from submit.formats.base import Format
from submit.formats.naic_json import NAIC_JSON

FORMATS: dict[str, Format] = {
    "naic_json": NAIC_JSON,
}
