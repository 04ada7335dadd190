"""AI City Challenge, track 2 (CityFlow-ReID; Tang et al., CVPR 2019): numbered images with labels in XML."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from configs.errors import DataError
from models.data.images import list_images
from models.data.layouts.lists import read_lines, read_text, whole_number
from models.data.spelling import hint
from models.data.split import UNKNOWN, Benchmark, Split, make_split


def read_aicity(root: Path) -> Benchmark:
    """`image_train/000001.jpg` and `train_label.xml`. Query and test have identities if their XML is there."""
    return Benchmark(
        "aicity",
        root,
        train=_read(root / "image_train", root / "train_label.xml", needed=True),
        query=_read(root / "image_query", root / "query_label.xml"),
        gallery=_with_tracks(_read(root / "image_test", root / "test_label.xml"), root / "test_track_id.txt"),
        unlabelled=make_split([]),
    )


def _read(folder: Path, labels: Path, needed: bool = False) -> Split:
    """The images of a folder. An image that the XML does not name has no identity and is not trained on."""
    told = read_labels(labels) if needed or labels.exists() else {}
    there = {path.name: path for path in list_images(folder)}
    missing = next((name for name in told if name not in there), None)
    if missing is not None:
        raise DataError(
            f"{labels}: {missing!r} is not in {folder}{hint(missing, there)}. Restore it, or correct its item"
        )
    unknown = (UNKNOWN, UNKNOWN)
    return make_split(
        [(n, p, *told.get(n, unknown)) for n, p in there.items() if not needed or told.get(n, unknown)[0] >= 0]
    )


def _with_tracks(split: Split, path: Path) -> Split:
    """The tracks of the test images, if the file is there. Each line has the image numbers of a track, from 1."""
    if not path.exists():
        return split
    row_of = {name.partition(".")[0].lstrip("0"): row for row, name in enumerate(split.names)}
    tracks = np.full(len(split), UNKNOWN, np.int64)
    for track, (line, text) in enumerate(read_lines(path, "aicity", "the numbers of a track's images in each line")):
        for word in text.split():
            row = row_of.get(word.partition(".")[0].lstrip("0"))
            if row is None or tracks[row] != UNKNOWN:
                trouble = "is not in image_test" if row is None else "is in another track already"
                raise DataError(f"{path}, line {line}: {word!r} {trouble}")
            tracks[row] = track
    return replace(split, tracks=tracks)


def read_labels(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> vehicle, camera, from items `<Item imageName="000001.jpg" vehicleID="0001" cameraID="c001"/>`.

    The header says gb2312, but the file is UTF-8 and is decoded so.
    A missing id is -1.

    Raises:
        DataError: it cannot be read, an item has no name, or an id is no number.
    """
    wants = "layout aicity needs XML items with imageName"
    text = read_text(path, wants)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: declares entities, which are not allowed; write plain items")
    try:
        items = list(ElementTree.fromstring(text).iter("Item"))
    except (ElementTree.ParseError, RecursionError) as e:
        raise DataError(f"{path}: cannot be read ({e}); {wants}") from e
    found: dict[str, tuple[int, int]] = {}
    for number, item in enumerate(items, 1):
        where, name = f"{path}, item {number}", item.get("imageName")
        if not name:
            raise DataError(f"{where}: has no imageName; it has {sorted(item.keys())}")
        pid = whole_number(item.get("vehicleID", "-1"), "vehicleID", where)
        camera = item.get("cameraID", "-1").removeprefix("c")
        told = (pid, whole_number(camera, "cameraID", where))
        if found.setdefault(name, told) != told:
            raise DataError(f"{where}: {name!r} is {told} here and {found[name]} earlier; delete one of them")
    return found
