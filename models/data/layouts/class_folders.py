"""Layout `class_folders`: a folder an identity, `train/ID/*`, `query/ID/*` and `gallery/ID/*`; or `ID/*` alone.

`ID/*` alone is all to train on; `python -m ensemble.split` makes test lists of it. Identities are numbered by name.
"""

from __future__ import annotations

from pathlib import Path

from configs.errors import DataError
from models.data.images import list_images
from models.data.split import UNKNOWN, Benchmark, Split, make_split

PARTS = ("train", "query", "gallery")


def read_class_folders(root: Path) -> Benchmark:
    """Read the folders. An image's name is its file name if all are unique in the data set, else `ID/FILE`.

    Raises:
        DataError: some of the three folders are missing, or no folder has images.
    """
    there = [part for part in PARTS if (root / part).is_dir()]
    if there and len(there) < len(PARTS):
        lacking = ", ".join(part for part in PARTS if part not in there)
        raise DataError(
            f"{root}: has {', '.join(there)}, and no {lacking}; layout class_folders needs all three, or ID/*"
        )
    found = {part: _images(root / part if there else root) for part in (there or PARTS[:1])}
    if not any(found.values()):
        raise DataError(f"{root}: layout class_folders needs a folder of images an identity, train/ID/* or ID/*")
    persons = sorted({folder for images in found.values() for folder, _ in images})
    pid_of = {folder: number for number, folder in enumerate(persons)}
    paths = [path for images in found.values() for _, path in images]
    unique = len({path.name for path in paths}) == len(paths)

    def split(part: str) -> Split:
        images = found.get(part, [])
        named = [(path.name if unique else f"{folder}/{path.name}", path, pid_of[folder]) for folder, path in images]
        return make_split([(name, path, pid, UNKNOWN) for name, path, pid in named])

    labels = {number: folder for folder, number in pid_of.items() if folder != str(number)}
    lists = split("train"), split("query"), split("gallery")
    return Benchmark("class_folders", root, *lists, unlabelled=make_split([]), labels=labels)


def _images(root: Path) -> list[tuple[str, Path]]:
    """(identity, path) of every image in a subfolder."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    return [(folder.name, path) for folder in folders for path in list_images(folder)]
