"""Names that differ only in case, Unicode form, slash direction or the ending of one image format."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

KINDS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".apng": ".png"}


def plain(name: str) -> str:
    """The normal form of a name: equal for all of its spellings."""
    text = unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
    stem, ending = os.path.splitext(text)
    return stem + KINDS.get(ending, ending)


def otherwise(name: str, there: Iterable[str]) -> str | None:
    """The one name in `there` that is another spelling of `name`. None if `name` itself is there."""
    meant = plain(name)
    found = {other for other in there if plain(other) == meant}
    return found.pop() if len(found) == 1 and name not in found else None


def hint(name: str, there: Iterable[str]) -> str:
    """` (there is 'IMG_1.JPG')`, or ''."""
    other = otherwise(name, there)
    return f" (there is {other!r})" if other is not None else ""


def find_file(path: Path) -> Path | None:
    """The file of a missing path under another spelling of its name."""
    folder = path.parent
    try:
        name = otherwise(path.name, os.listdir(folder))
    except OSError:
        return None
    return None if name is None else folder / name
