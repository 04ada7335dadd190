"""NAIC 2019: `train_list.txt` with lines `train/345382995.png 0`, test folders a and b without labels."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from configs.errors import DataError
from models.data.images import list_images
from models.data.layouts.lists import first_folder, inside, read_lines, whole_number
from models.data.spelling import hint
from models.data.split import UNKNOWN, Benchmark, Split, make_split

MISLABELLED = {"105180993.png", "829283568.png", "943445997.png"}  # all public solutions leave these out
WANTED = "lines 'train/345382995.png 0'"


def read_naic2019(root: Path) -> Benchmark:
    """Board a: `query_a/` and `gallery_a/`, in the root or in `test/`. There are no cameras."""
    return _read(root, "a")


def read_naic2019_b(root: Path) -> Benchmark:
    """Board b: `query_b/` and `gallery_b/`."""
    return _read(root, "b")


def _read(root: Path, board: str) -> Benchmark:
    query, gallery = (
        first_folder(root, (f"{side}_{board}", f"test/{side}_{board}"), "naic2019") for side in ("query", "gallery")
    )
    return Benchmark(
        "naic2019",
        root,
        train=_read_train(root / "train_list.txt", first_folder(root, ("train", "train_set"), "naic2019")),
        query=_read_query(query),
        gallery=make_split([(p.name, p, UNKNOWN, UNKNOWN) for p in list_images(gallery)]),
        unlabelled=make_split([]),
    )


def _read_train(path: Path, folder: Path) -> Split:
    """The training list. Lines have `train/` even if the folder is `train_set/`: only the file name counts."""
    rows: dict[str, tuple[str, Path, int, int]] = {}
    for number, line in read_lines(path, "naic2019", WANTED):
        where = f"{path}, line {number}"
        text, _, label = line.rpartition(" ")
        name, pid = PurePosixPath(text.strip()).name, whole_number(label, "the id", where)
        inside(folder, text.strip(), where)
        if name in MISLABELLED:
            continue
        if name in rows and rows[name][2] != pid:
            raise DataError(f"{where}: {name} is person {pid} here and {rows[name][2]} earlier; delete one line")
        rows[name] = (name, folder / name, pid, UNKNOWN)
    return make_split(list(rows.values()))


def _read_query(folder: Path) -> Split:
    """The images of a folder, checked against its list if there is one."""
    there = {path.name: path for path in list_images(folder)}
    listed = folder.with_name(f"{folder.name}_list.txt")
    if listed.exists():
        for number, line in read_lines(listed, "naic2019", "lines 'query_a/345382995.png 0'"):
            name = PurePosixPath(line.split(" ")[0]).name
            if name not in there:
                raise DataError(f"{listed}, line {number}: {name!r} is not in {folder}{hint(name, there)}")
    return make_split([(name, path, UNKNOWN, UNKNOWN) for name, path in there.items()])
