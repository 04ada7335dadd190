"""The report's data as scripts, since a page opened from disk may load scripts only.

Each file calls `report.put(name, value)`. Numbers are base64 of little-endian arrays, names are JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from submit.report.query_results import QueryResults
from submit.report.report_input import ReportedEvaluation

LISTS, NAMES = 64, 1024  # queries and names per file
STRIP = 10  # images per list on the query page
CODES = {"f4": "<f4", "i4": "<i4", "i2": "<i2", "u2": "<u2", "u1": "u1", "i1": "i1"}


def packed(array: NDArray, code: str) -> dict[str, str]:
    """An array for the page: its type and its bytes."""
    raw = np.ascontiguousarray(array).astype(CODES[code]).tobytes()
    return {"t": code, "d": base64.b64encode(raw).decode("ascii")}


def write_piece(folder: Path, name: str, value: Any) -> None:
    """Write one script of the data folder, in ASCII, so that no character of a name ends a line or a string."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    path = folder / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'report.put("{name}",{text});\n', encoding="ascii")


def write_lists(folder: Path, trial: ReportedEvaluation, found: QueryResults) -> None:
    """Files of LISTS queries each: shown images, their ranks by each system, and the right images."""
    ranks = "u2" if len(trial.gallery) < 2**16 else "i4"
    for start in range(0, len(trial.query), LISTS):
        rows = slice(start, min(start + LISTS, len(trial.query)))
        pointers = np.asarray(found.right_ptr[rows.start : rows.stop + 1])
        right = slice(int(pointers[0]), int(pointers[-1]))
        write_piece(
            folder,
            f"{trial.name}/lists-{start // LISTS:04d}",
            {
                "top": packed(found.top[rows], "i4"),
                "dist": packed(np.nan_to_num(found.dist[rows], posinf=0), "f4"),
                "ranks": packed(found.ranks[:, rows], ranks),
                "ptr": packed(pointers - pointers[0], "i4"),
                "right": packed(found.right[right], "i4"),
                "rightRanks": packed(found.right_ranks[:, right], ranks),
                "junk": packed(found.junk[rows], "i4"),
            },
        )


def write_names(folder: Path, trial: ReportedEvaluation) -> None:
    """Gallery names, NAMES per file. A page loads only the files that it shows."""
    for start in range(0, len(trial.gallery), NAMES):
        write_piece(
            folder, f"{trial.name}/names-{start // NAMES:04d}", list(trial.gallery.names[start : start + NAMES])
        )


def write_index(folder: Path, trial: ReportedEvaluation, found: QueryResults, pictures: dict[str, Any]) -> None:
    """Data for every query: for sorting, filtering and the list of queries.

    Args:
        pictures: `place` (G,) of each gallery image on the sheets, and the tiles; see `thumbnails.py`.
    """
    before, after = trial.before, trial.after
    query, gallery = trial.query, trial.gallery
    write_piece(
        folder,
        f"{trial.name}/index",
        {
            "trial": trial.name,
            "labelled": trial.labelled,
            "systems": trial.names,
            "members": len(trial.banks),
            "before": before,
            "after": after,
            "k": int(found.top.shape[1]),
            "strip": min(STRIP, int(found.top.shape[1])),
            "perLists": LISTS,
            "perNames": NAMES,
            "names": list(query.names),
            "pids": packed(query.pids, "i4"),
            "cams": packed(query.camids, "i4"),
            "domains": packed(query.domains, "i1"),
            "domainNames": list(query.domain_names),
            "persons": _called(trial.labels, query.pids, gallery.pids),
            "cameras": _called(trial.camera_names, query.camids, gallery.camids),
            "ap": packed(np.nan_to_num(found.ap, nan=-1), "f4"),
            "hit": packed(np.nan_to_num(found.hit, nan=2), "u1"),
            "agreement": packed(found.agreement(), "f4"),
            "top": packed(found.top[:, :STRIP], "i4"),
            "rightCount": packed(np.diff(found.right_ptr), "i4"),
            "gallery": {
                "count": len(gallery),
                "pids": packed(gallery.pids, "i4"),
                "cams": packed(gallery.camids, "i4"),
                "place": packed(pictures["place"], "i4"),
            },
            "tiles": pictures["tiles"],
            "folder": pictures["folder"],
        },
    )


def _called(names: Mapping[int, str], *numbers: NDArray[np.int64]) -> dict[str, str]:
    """The names of the numbers that occur."""
    return {str(n): names[n] for n in np.unique(np.concatenate(numbers)).tolist() if n in names}
