"""Names that differ in spelling alone: capitals, Unicode form, the slash, or the ending of one kind of picture."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

KINDS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".apng": ".png"}


def plain(name: str) -> str:
    """What two spellings of a name have in common."""
    text = unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
    stem, ending = os.path.splitext(text)
    return stem + KINDS.get(ending, ending)


def otherwise(name: str, there: Iterable[str]) -> str | None:
    """The one of these names that is the same under another spelling; none where it is there as it stands."""
    meant = plain(name)
    found = {other for other in there if plain(other) == meant}
    return found.pop() if len(found) == 1 and name not in found else None


def hint(name: str, there: Iterable[str]) -> str:
    """` (there is 'IMG_1.JPG')`, or nothing."""
    other = otherwise(name, there)
    return f" (there is {other!r})" if other is not None else ""


def find_file(path: Path) -> Path | None:
    """The file that is meant by a path that is not there, under another spelling of its last part."""
    folder = path.parent
    try:
        name = otherwise(path.name, os.listdir(folder))
    except OSError:
        return None
    return None if name is None else folder / name
