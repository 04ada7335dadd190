"""Submission formats, one file each. A new format is a file and a line in `FORMATS`."""

from __future__ import annotations

from pathlib import Path

from configs.errors import ConfigError
from models.data.layouts.given_pairs import read_pairs
from submit.formats.aicity_txt import AICITY_TXT
from submit.formats.atrw_json import ATRW_JSON
from submit.formats.base import Format, Names
from submit.formats.naic_json import NAIC_JSON
from submit.formats.pairs_csv import PAIRS_CSV
from submit.formats.prcv_csv import PRCV_CSV
from submit.formats.visda_txt import VISDA_TXT

FORMATS: dict[str, Format] = {
    "naic_json": NAIC_JSON,
    "aicity_txt": AICITY_TXT,
    "visda_txt": VISDA_TXT,
    "prcv_csv": PRCV_CSV,
    "atrw_json": ATRW_JSON,
    "pairs_csv": PAIRS_CSV,
}


def format_of(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none.
    """
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; submit/formats has: {', '.join(FORMATS)}")
    return FORMATS[name]


def names_of(form: Format, root: Path, query: tuple[str, ...], gallery: tuple[str, ...]) -> Names:
    """The query and gallery names, and the given pairs if the format needs them.

    Raises:
        DataError: the format needs given pairs, but the data set has none.
    """
    return Names(query, gallery, read_pairs(root) if form is PAIRS_CSV else ())
