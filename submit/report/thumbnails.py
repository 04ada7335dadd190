"""Thumbnails of an evaluation on sheets: queries in order; gallery images so that one list needs few sheets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.console.progress import Progress
from models.data.sheets.thumbnails import COLUMNS, PER_SHEET, SUFFIX, Tile, tile_of, write_sheets
from submit.report.query_results import QueryResults
from submit.report.report_input import ReportedEvaluation

QUERY_SIDE, GALLERY_SIDE = 224, 144  # most pixels of the longer side


@dataclass(frozen=True)
class Thumbs:
    """Positions of thumbnails. place: (G,) of each gallery image. there: whether any picture was found."""

    folder: str
    query: Tile
    gallery: Tile
    place: NDArray[np.int64]
    there: bool

    def as_data(self) -> dict[str, Any]:
        """Values for the index."""
        tiles = {"q": [self.query.width, self.query.height], "g": [self.gallery.width, self.gallery.height]}
        return {"place": self.place, "tiles": tiles | {"columns": COLUMNS, "per": PER_SHEET}, "folder": self.folder}

    def spot(self, side: str, row: int) -> dict[str, Any]:
        """File, column, row and shape of one picture; side: q or g."""
        place = row if side == "q" else int(self.place[row])
        tile = self.query if side == "q" else self.gallery
        at = place % PER_SHEET
        return {
            "file": f"{self.folder}/{side}-{place // PER_SHEET:04d}{SUFFIX}",
            "column": at % COLUMNS,
            "row": at // COLUMNS,
            "width": tile.width,
            "height": tile.height,
        }


def write_thumbs(
    folder: Path, trial: ReportedEvaluation, found: QueryResults, progress: Progress
) -> tuple[Thumbs, list[str]]:
    """Write the sheets; returns also a message if pictures are missing."""
    place = gallery_places(np.asarray(found.top), len(trial.gallery))
    tiles = {"q": tile_of(trial.query.paths, QUERY_SIDE), "g": tile_of(trial.gallery.paths, GALLERY_SIDE)}
    there = any(path is not None for path in trial.query.paths)
    made = Thumbs(f"sprites/{trial.name}", tiles["q"], tiles["g"], place, there)
    if not there:
        return made, []
    arranged = [trial.gallery.paths[i] for i in np.argsort(place)]
    with progress.task(f"{trial.name}: thumbnails", len(trial.query) + len(arranged)) as step:
        bad = len(write_sheets(trial.query.paths, tiles["q"], folder / made.folder, "q", step))
        bad += len(write_sheets(arranged, tiles["g"], folder / made.folder, "g", step))
    return made, [f"{trial.name}: {bad:,} pictures could not be read; their places are empty"] if bad else []


def gallery_places(top: NDArray[np.int32], n_gallery: int) -> NDArray[np.int64]:
    """Positions on the sheets: images in the order in which the lists first show them, then all others.

    Consecutive queries of one person have similar lists, so one list needs few sheets.
    """
    shown, first = np.unique(top[top >= 0], return_index=True)
    order = np.concatenate([shown[np.argsort(first)], np.setdiff1d(np.arange(n_gallery), shown)])
    place = np.empty(n_gallery, np.int64)
    place[order] = np.arange(n_gallery)
    return place
