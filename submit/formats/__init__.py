"""Submission formats, one file each. A new format is a file and a line in `FORMATS`, or in `LABEL_FORMATS`."""

from __future__ import annotations

from pathlib import Path

from configs.errors import ConfigError
from models.data.layouts.given_pairs import read_pairs
from submit.formats.aicity_txt import AICITY_TXT
from submit.formats.atrw_json import ATRW_JSON
from submit.formats.base import Format, Names
from submit.formats.label_csv import CLUSTERS_CSV, IDENTITIES_CSV, LabelFormat
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
LABEL_FORMATS: dict[str, LabelFormat] = {"clusters_csv": CLUSTERS_CSV, "identities_csv": IDENTITIES_CSV}


def format_of(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none, or it has a label an image in the place of a list.
    """
    if name in LABEL_FORMATS:
        raise ConfigError(
            f"format {name!r} has a label an image, not a list: python -m submit.clusters writes it, and submit.check "
            "and submit.score read it"
        )
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}; submit/formats has: {', '.join((*FORMATS, *LABEL_FORMATS))}")
    return FORMATS[name]


def names_of(form: Format, root: Path, query: tuple[str, ...], gallery: tuple[str, ...]) -> Names:
    """The query and gallery names, and the given pairs if the format needs them.

    Raises:
        DataError: the format needs given pairs, but the data set has none.
    """
    return Names(query, gallery, read_pairs(root) if form is PAIRS_CSV else ())
