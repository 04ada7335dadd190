"""Findings: queries that are in the gallery too. Their nearest image is the query itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.data.doctor.finding import HURTS, Finding, count, shown
from models.data.split import Benchmark, Split

FREE = "a query is its own best match, so rank-1 is too good, unless it is junk (same camera)"


def own_rows(
    query: Split, gallery: Split, digests: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
) -> NDArray[np.int64]:
    """(Q,) the gallery row with the same path or the same content as each query, -1 for none.

    Args:
        digests: for query and gallery, name -> digest of the file's content, if known.
    """
    row = {digests[1][name]: i for i, name in enumerate(gallery.names) if name in digests[1]}
    row |= {str(path): i for i, path in enumerate(gallery.paths)}
    found = [
        row.get(str(path), row.get(digests[0].get(name, ""), -1))
        for name, path in zip(query.names, query.paths, strict=True)
    ]
    return np.array(found, np.int64)


def find_own(benchmark: Benchmark) -> list[Finding]:
    """A finding if queries are gallery images too."""
    rows = own_rows(benchmark.query, benchmark.gallery)
    names = [name for name, row in zip(benchmark.query.names, rows.tolist(), strict=True) if row >= 0]
    if not names:
        return []
    text = f"{count(len(names), 'query is a gallery image itself', 'queries are gallery images themselves')}"
    return [Finding(HURTS, text, FREE, shown(names))]
