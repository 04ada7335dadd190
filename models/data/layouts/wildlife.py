"""Layout `wildlife`: `metadata.csv`, as of wildlife-datasets and of AnimalCLEF.

Columns: `image_id,identity,path,split`; optional: `species` (an image's domain), `camid`, `track`, `sequence`, boxes.
Other columns give a note. Images are named by their `image_id`. Splits:

    train                  images to train on
    test, val, validation  query and gallery at once: each image is asked of all others (competition.junk: itself)
    database               images to train on, and the gallery
    query                  the queries of a database
    unlabelled             images without a list
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from configs.errors import DataError
from models.data.layouts.boxes import BOXES
from models.data.layouts.table import Row, benchmark_of, check_path, find_not_read, read_fields, take_unknown
from models.data.split import Benchmark

TABLE = "metadata.csv"
NEEDED = ("image_id", "identity", "path", "split")
USED = (*NEEDED, "species", "camid", "track", "sequence")
LISTS = {  # split -> (split, is_query, is_gallery) of layout `table`, one or several
    "train": (("train", "", ""),),
    "database": (("train", "", ""), ("test", "", "true")),
    "query": (("test", "true", ""),),
    **dict.fromkeys(("test", "val", "validation"), (("test", "true", "true"),)),
    "unlabelled": (("unlabelled", "", ""),),
}


def read_wildlife(root: Path) -> Benchmark:
    """Read `metadata.csv`.

    Raises:
        DataError: a column is missing, a split is unknown, or an image to train on has no identity.
    """
    table = root / TABLE
    columns, raw = read_fields(table, f"layout wildlife needs the columns {', '.join(NEEDED)}")
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        raise DataError(f"{table}: no column {missing[0]!r}; needed are {', '.join(NEEDED)}")
    rows, words = list[Row](), Counter[str]()
    for line, fields in raw:
        given = dict(zip(columns, [*fields, *[""] * len(columns)], strict=False))
        where = f"{table}, line {line}"
        if given["split"].lower() not in LISTS:
            raise DataError(f"{where}: split {given['split']!r}; must be one of {', '.join(LISTS)}")
        row = {"line": str(line), "image_id": given["image_id"], "label": given["identity"], "path": given["path"]}
        row |= {column: given[column] for column in BOXES if column in given}
        row |= {"camid": given.get("camid", "").removesuffix(".0")}
        row |= {to: given[of] for of, to in (("species", "domain"), ("track",) * 2, ("sequence",) * 2) if of in given}
        take_unknown(row, words)
        check_path(row["path"], where)
        if not row["image_id"]:
            raise DataError(f"{where}: no image_id; each image needs its own")
        for split, is_query, is_gallery in LISTS[given["split"].lower()]:
            if split == "train" and not row["label"]:
                raise DataError(f"{where}: a train row without an identity; add one, or set the split to 'unlabelled'")
            rows.append(row | {"split": split, "is_query": is_query, "is_gallery": is_gallery})
    return benchmark_of("wildlife", root, table, rows, find_not_read(columns, USED, words, table), root)
