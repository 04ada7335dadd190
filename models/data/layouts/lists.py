"""Reading of label lists. Paths in them must be inside the data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from configs.errors import DataError
from models.data.images import check_file


def read_text(path: Path, wants: str) -> str:
    """The text of a file. `wants` is the end of the error message.

    Raises:
        DataError: the file is missing, not a regular file, or not UTF-8 text.
    """
    try:
        check_file(path)
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: cannot be read (byte {e.start} is not UTF-8); {wants}") from e
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else e
        raise DataError(f"{path}: cannot be read ({reason}); {wants}") from e


def read_lines(path: Path, layout: str, wanted: str) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1. Line ends are removed, backslashes become `/`.

    Raises:
        DataError: the file is missing, or is not UTF-8 text.
    """
    text = read_text(path, f"layout {layout} needs {wanted}")
    lines = enumerate(text.split("\n"), 1)
    return [(number, line.strip().replace("\\", "/")) for number, line in lines if line.strip()]


def inside(root: Path, text: str, where: str) -> Path:
    """A path from a list, below `root`.

    Raises:
        DataError: it is absolute, or points outside the folder.
    """
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise DataError(f"{where}: path {text!r}; must be inside {root}")
    return root / path


def whole_number(text: str, what: str, where: str) -> int:
    """An integer in ASCII digits, optionally negative.

    Raises:
        DataError: it is not.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise DataError(f"{where}: {what} is {text!r}; must be a whole number")
    return int(text)


def first_folder(root: Path, names: tuple[str, ...], layout: str) -> Path:
    """The first of these folders that exists.

    Raises:
        DataError: none does.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root}: layout {layout} needs a folder {' or '.join(names)}")
