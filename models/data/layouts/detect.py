"""Recognition of a folder's layout, for `--layout auto`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from configs.errors import DataError
from models.data.images import names_image

MARKET = ("bounding_box_train", "query", "bounding_box_test")
NUMBERED, LABELLED = re.compile(r"\d+\.\w+"), re.compile(r"\d+_c\d+")


@dataclass(frozen=True)
class Sign:
    """The sign of a layout.

    Attributes:
        paths: all must exist.
        first: a folder, and a pattern for the name of its first image.
    """

    paths: tuple[str, ...]
    first: tuple[str, re.Pattern[str]] | None = None


SIGNS: dict[str, tuple[Sign, ...]] = {
    "drawn": (Sign(("drawn.json", "unlabelled", *MARKET)),),
    "market1501": (Sign(MARKET), Sign(tuple(f"Market-1501-v15.09.15/{name}" for name in MARKET))),
    "msmt17": (Sign(("list_train.txt", "list_query.txt", "list_gallery.txt")),),
    "cuhk03np": (Sign(tuple(f"detected/{name}" for name in MARKET)),),
    "cuhk03np_labeled": (Sign(tuple(f"labeled/{name}" for name in MARKET)),),
    "veri776": (Sign(("image_train", "image_query", "image_test"), ("image_query", LABELLED)),),
    "naic2019": (
        Sign(("train_list.txt", "query_a", "gallery_a")),
        Sign(("train_list.txt", "test/query_a", "test/gallery_a")),
    ),
    "naic2019_b": (
        Sign(("train_list.txt", "query_b", "gallery_b")),
        Sign(("train_list.txt", "test/query_b", "test/gallery_b")),
    ),
    "naic2020": (Sign(("train/label.txt", "train/images", "test/query", "test/gallery")),),
    "aicity": (Sign(("train_label.xml", "image_train", "image_query", "image_test"), ("image_query", NUMBERED)),),
    "visda2020": (Sign(("image_query", "image_gallery")),),
    "table": (Sign(("df.csv",)),),
    "wildlife": (Sign(("metadata.csv",)),),
    "class_folders": (Sign(("train", "query", "gallery")),),
    "labels_csv": (Sign(("train.csv",)), Sign(("labels.csv",))),
}
IN_PLACE_OF = {"drawn": "market1501", "cuhk03np": "cuhk03np_labeled", "naic2019": "naic2019_b"}


@dataclass(frozen=True)
class Found:
    """A layout, and why it was recognised."""

    layout: str
    why: str


def recognise(root: Path) -> Found:
    """The layout of a folder.

    If a folder has both parts of a data set, the usual part is taken and the other one is named.
    Detected boxes come before labeled ones, board a before board b.

    Raises:
        DataError: no such folder, no layout is recognised, or several are.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; --data must be the folder of the data set")
    seen = _seen(root)
    if not seen and (inner := _inner(root)) is not None:
        found = recognise(inner)
        return Found(found.layout, f"{found.why}, in {inner.name}/")
    also = [other for name, other in IN_PLACE_OF.items() if name in seen and other in seen]
    chosen = [name for name in seen if name not in also]
    if not chosen:
        there = sorted(p.name + "/" * p.is_dir() for p in root.iterdir() if not p.name.startswith("."))
        shown = ", ".join(there[:8]) or "nothing"
        raise DataError(
            f"{root}: no layout is recognised; the folder has {shown}. {_nearly(root)}. Give one with --layout, or "
            "list the images in a df.csv (layout table)"
        )
    if len(chosen) > 1:  # a file that lists the images says more than the names of folders
        chosen = [name for name in chosen if name != "class_folders"]
    if len(chosen) > 1:
        raise DataError(f"{root}: the layout could be {' or '.join(chosen)}; give one with --layout")
    why = f"layout {chosen[0]}, recognised by {', '.join(seen[chosen[0]].paths)}"
    others = [name for name in also if IN_PLACE_OF[chosen[0]] == name and name != "market1501"]
    return Found(chosen[0], why + "".join(f" (--layout {name} takes the other part)" for name in others))


def find_root(layout: str, root: Path) -> Path:
    """The folder with this layout: `root`, or the only such folder in it, as unpacked from an archive."""
    signs = SIGNS.get(layout, SIGNS["msmt17"])  # msmt17_trainval has no sign of its own
    if any(_holds(root, sign) for sign in signs):
        return root
    inside = [path for path in _folders(root) if any(_holds(path, sign) for sign in signs)]
    return inside[0] if len(inside) == 1 else root


def _seen(root: Path) -> dict[str, Sign]:
    """The layouts that a folder could have, with their signs."""
    return {name: sign for name, signs in SIGNS.items() for sign in reversed(signs) if _holds(root, sign)}


def _inner(root: Path) -> Path | None:
    """The only subfolder that has a layout."""
    inside = [path for path in _folders(root) if _seen(path)]
    return inside[0] if len(inside) == 1 else None


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")


def _nearly(root: Path) -> str:
    """The layouts with the fewest missing paths, or the names of all layouts."""
    lacking = {}
    for name, signs in SIGNS.items():
        missing = [path for path in signs[0].paths if not (root / path).exists()]
        if len(missing) < len(signs[0].paths):
            lacking[name] = missing
    least = min(map(len, lacking.values()), default=0)
    near = [
        f"{name} lacks {' and '.join(m) or 'the right image names'}" for name, m in lacking.items() if len(m) == least
    ]
    return "; ".join(near) if near else f"The layouts are: {', '.join(SIGNS)}"


def _holds(root: Path, sign: Sign) -> bool:
    if not all((root / path).exists() for path in sign.paths):
        return False
    if sign.first is None:
        return True
    folder, pattern = sign.first
    names = sorted(p.name for p in (root / folder).iterdir() if names_image(p.name))
    return bool(names) and pattern.match(names[0]) is not None
