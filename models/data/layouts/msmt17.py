"""MSMT17 (Wei et al., CVPR 2018): list files. Identities of training and test both count from 0."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from configs.errors import DataError
from models.data.layouts.lists import first_folder, inside, read_lines, whole_number
from models.data.split import Benchmark, make_split

TRAIN, TEST = ("train", "mask_train_v2", "mask_train_V2"), ("test", "mask_test_v2", "mask_test_V2")
Row = tuple[str, Path, int, int]


def read_msmt17(root: Path) -> Benchmark:
    """`0000/0000_000_01_0303morning_0008_0.jpg 0` is person 0, camera 1. Validation images are not used."""
    return _read(root, ("list_train.txt",))


def read_msmt17_trainval(root: Path) -> Benchmark:
    """As `read_msmt17`, with the validation images in the training list, as in many papers."""
    return _read(root, ("list_train.txt", "list_val.txt"))


def _read(root: Path, lists: tuple[str, ...]) -> Benchmark:
    train_folder, test_folder = first_folder(root, TRAIN, "msmt17"), first_folder(root, TEST, "msmt17")
    rows = [row for name in lists for row in _rows(root / name, train_folder, 0)]
    beyond = 1 + max((pid for _, _, pid, _ in rows), default=-1)
    query, gallery = (_rows(root / f"list_{part}.txt", test_folder, beyond) for part in ("query", "gallery"))
    return Benchmark("msmt17", root, make_split(rows), make_split(query), make_split(gallery), make_split([]))


def _rows(path: Path, folder: Path, offset: int) -> list[Row]:
    """One list. `offset` is added to its identities, since the test counts from 0 again."""
    rows = []
    for number, line in read_lines(path, "msmt17", "lines '0000/0000_000_01_0303morning_0008_0.jpg 0'"):
        where = f"{path}, line {number}"
        name, _, pid = line.rpartition(" ")
        fields = PurePosixPath(name).name.split("_")
        if len(fields) < 4:
            raise DataError(f"{where}: {line!r}; must be a path with the camera as third field of its name, and an id")
        camera = whole_number(fields[2], "the camera, third field of the name,", where)
        pid_here = offset + whole_number(pid, "the id", where)
        rows.append((PurePosixPath(name).name, inside(folder, name, where), pid_here, camera))
    return rows
