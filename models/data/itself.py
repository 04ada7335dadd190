"""Queries that are in the gallery too: the nearest image is then the question, and rank 1 comes for free."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.data.doctor.finding import HURTS, Finding, count, shown
from models.data.split import Benchmark, Split

FREE = "rank 1 comes for free there, unless the image is junk (same camera)"


def own_rows(
    query: Split, gallery: Split, digests: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> NDArray[np.int64]:
    """(Q,) the gallery row of each query's own file, -1 for none: of the same path, or of the same contents.

    Args:
        digests: name -> digest of a file's contents, of query and gallery, where they are known.
    """
    row = {digests[1][name]: i for i, name in enumerate(gallery.names) if name in digests[1]}
    row |= {str(path): i for i, path in enumerate(gallery.paths)}
    found = [
        row.get(str(path), row.get(digests[0].get(name, ""), -1))
        for name, path in zip(query.names, query.paths, strict=True)
    ]
    return np.array(found, np.int64)


def find_own(benchmark: Benchmark) -> list[Finding]:
    """A finding where queries are gallery images too."""
    rows = own_rows(benchmark.query, benchmark.gallery)
    names = [name for name, row in zip(benchmark.query.names, rows.tolist(), strict=True) if row >= 0]
    if not names:
        return []
    text = f"{count(len(names), 'query is a gallery image itself', 'queries are gallery images themselves')}"
    return [Finding(HURTS, text, FREE, shown(names))]
