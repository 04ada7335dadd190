"""Check that a data set fits a competition's format and rules."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from configs.console.quoting import set_option
from configs.errors import ConfigError, DataError
from configs.schema import WHOLE, Competition
from models.data.itself import check_junk
from models.data.layouts.given_pairs import pairs_file, read_pairs
from models.data.spelling import hint
from models.data.split import Benchmark


def check_pairs(root: Path, query: Collection[str], gallery: Collection[str]) -> None:
    """Check that the data set has the images of every given pair.

    Raises:
        DataError: an image is missing; or as `read_pairs`.
    """
    there = set(query), set(gallery)
    for row, q, g in read_pairs(root):
        if q not in there[0] or g not in there[1]:
            side, name, names = ("query", q, query) if q not in there[0] else ("gallery", g, gallery)
            told = f"{name!r} is not in the {side} list of the data set{hint(name, names)}"
            raise DataError(f"{pairs_file(root)}, row {row!r}: {told}")


def check_handing_in(competition: Competition, benchmark: Benchmark) -> None:
    """Check before training what `submit.make` would refuse later.

    Raises:
        ConfigError: the format needs the whole gallery, and lists are shorter; or as `check_junk`.
        DataError: the given pairs are wrong.
    """
    check_junk(competition, benchmark)
    if competition.format in WHOLE and competition.top_k < len(benchmark.gallery):
        raise ConfigError(
            f"competition.format {competition.format} hands in distances to the whole gallery, and lists are of "
            f"{competition.top_k:,}; {set_option('competition.top_k', len(benchmark.gallery))}"
        )
    if competition.format == "pairs_csv":
        sides = (benchmark.whole.get(part, benchmark.lists()[part]).names for part in ("query", "gallery"))
        check_pairs(benchmark.root, *sides)
