"""Label lists: lines of a text file, and the paths they name, which must lie inside the data set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from configs.errors import DataError
from models.data.images import check_file


def read_text(path: Path, wants: str) -> str:
    """A file's text; `wants` ends the sentence where there is none.

    Raises:
        DataError: the file is missing, is no plain file, or is not UTF-8 text.
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
    """Lines that hold something, with their numbers from 1; without their ends, whether LF or CR LF, and with `/`
    where Windows wrote its own slash.

    Raises:
        DataError: the file is missing, or is not UTF-8 text.
    """
    text = read_text(path, f"layout {layout} wants {wanted} there")
    lines = enumerate(text.split("\n"), 1)
    return [(number, line.strip().replace("\\", "/")) for number, line in lines if line.strip()]


def inside(root: Path, text: str, where: str) -> Path:
    """The path that a list names, below `root`.

    Raises:
        DataError: it is absolute, or leads out of the folder.
    """
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise DataError(f"{where}: path {text!r}; wanted one inside {root}")
    return root / path


def whole_number(text: str, what: str, where: str) -> int:
    """A whole number, perhaps below 0, in plain digits.

    Raises:
        DataError: it is something else.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 19):
        raise DataError(f"{where}: {what} is {text!r}; wanted a whole number")
    return int(text)


def first_folder(root: Path, names: tuple[str, ...], layout: str) -> Path:
    """The first of these folders that is there.

    Raises:
        DataError: none is.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root}: layout {layout} wants a folder {' or '.join(names)} there, and there is none")
