"""Findings: files next to a data set's images that are in no list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from models.data.doctor.finding import HURTS, NOTE, Finding, count, shown
from models.data.images import names_image
from models.data.split import Benchmark

NO_IMAGES = frozenset(
    {".csv", ".json", ".txt", ".xml", ".md", ".html", ".yaml", ".yml", ".mat", ".npz", ".npy", ".db", ".ini"}
)


def find_unread(benchmark: Benchmark) -> list[Finding]:
    """Other files in the folders of its images: files with other endings, and images that no list names.

    Hidden files and images left out by competition.skip do not count.
    """
    listed = {path for split in (*benchmark.lists().values(), *benchmark.whole.values()) for path in split.paths}
    files = []
    for folder in sorted({path.parent for path in listed}):
        if folder.is_dir():
            with os.scandir(folder) as entries:
                names = sorted(e.name for e in entries if e.name[0] != "." and not e.is_dir())
            files += [path for name in names if (path := folder / name) not in listed]
    others = [p for p in files if not names_image(p.name) and p.suffix.lower() not in NO_IMAGES]
    images = [path for path in files if names_image(path.name)]
    found = []
    if others:
        text = f"{count(len(others), 'file')} with other endings next to the images: {endings(p.name for p in others)}"
        found.append(Finding(HURTS, text, "not read; rename those that are images", shown(others)))
    if images:
        text = f"{count(len(images), 'image')} that no list names"
        found.append(Finding(NOTE, text, "not read", shown(images)))
    return found


def endings(names: Iterable[str]) -> str:
    """`.JPG_orig (12), .txt (1)`, the most frequent first."""
    counts = Counter(os.path.splitext(name)[1] or name for name in names)
    return ", ".join(f"{ending} ({n:,})" for ending, n in counts.most_common(5)) + ", ..." * (len(counts) > 5)
