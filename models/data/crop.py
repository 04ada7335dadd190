"""Images that are a box in a photograph: a path that carries its box, so that whatever reads a path reads the crop."""

from __future__ import annotations

import hashlib
from pathlib import Path, PosixPath
from typing import Any

from configs.store.atomic_files import file_digest

Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels of the photograph as it is shown


class Crop(PosixPath):
    """The path of a photograph, and a box in it. Paths made of it have no box. It equals other boxes of its file.

    Attributes:
        box: left, upper, right, lower.
    """

    box: Box

    def __reduce__(self) -> tuple[Any, ...]:
        return cropped, (Path(str(self)), self.box)


def cropped(path: Path, box: Box | None) -> Path:
    """The path with this box; the path itself without one."""
    if box is None:
        return path
    crop = Crop(path)
    crop.box = box
    return crop


def box_of(path: Path) -> Box | None:
    """The box of a path; None for a whole image."""
    return getattr(path, "box", None)


def key_of(path: Path) -> tuple[str, Box | None]:
    """What tells images apart: the file and the box."""
    return str(path), box_of(path)


def image_digest(path: Path) -> str:
    """A digest of the file's content, and of the box if there is one."""
    digest, box = file_digest(path), box_of(path)
    return digest if box is None else hashlib.sha256(f"{digest}{box}".encode()).hexdigest()
