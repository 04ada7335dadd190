"""Layouts: folder layouts of data sets. One file per layout, listed in `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from configs.errors import ConfigError, DataError
from models.data.doctor.finding import NOTE, Finding
from models.data.doctor.unread import find_unread
from models.data.gaps import find_gaps
from models.data.itself import find_own, find_sequences
from models.data.layouts.aicity import read_aicity
from models.data.layouts.class_folders import read_class_folders
from models.data.layouts.cuhk03np import read_cuhk03np, read_cuhk03np_labeled
from models.data.layouts.detect import find_root, recognise
from models.data.layouts.drawn import read_drawn
from models.data.layouts.labels_csv import read_labels_csv
from models.data.layouts.market1501 import read_market1501
from models.data.layouts.msmt17 import read_msmt17, read_msmt17_trainval
from models.data.layouts.naic2019 import read_naic2019, read_naic2019_b
from models.data.layouts.naic2020 import read_naic2020
from models.data.layouts.table import read_table
from models.data.layouts.veri776 import read_veri776
from models.data.layouts.visda2020 import read_visda2020
from models.data.layouts.wildlife import read_wildlife
from models.data.skip import leave_out
from models.data.split import Benchmark
from models.data.tracks import find_mixed_tracks

Reader = Callable[[Path], Benchmark]

LAYOUTS: dict[str, Reader] = {
    "market1501": read_market1501,
    "msmt17": read_msmt17,
    "msmt17_trainval": read_msmt17_trainval,
    "cuhk03np": read_cuhk03np,
    "cuhk03np_labeled": read_cuhk03np_labeled,
    "veri776": read_veri776,
    "naic2019": read_naic2019,
    "naic2019_b": read_naic2019_b,
    "naic2020": read_naic2020,
    "aicity": read_aicity,
    "visda2020": read_visda2020,
    "table": read_table,
    "wildlife": read_wildlife,
    "class_folders": read_class_folders,
    "labels_csv": read_labels_csv,
    "drawn": read_drawn,
}
AUTO = "auto"
MAKE = "; python -m ensemble.split --data {} --out DIR makes test lists of training identities"


def settle_layout(name: str, root: Path) -> tuple[str, str | None]:
    """The layout and, for `auto`, the reason why it was recognised.

    Raises:
        DataError: as `recognise`.
    """
    if name != AUTO:
        return name, None
    found = recognise(root)
    return found.layout, found.why


def read_layout(
    name: str,
    root: Path,
    skip: Mapping[str, Sequence[str]] | None = None,
    wanted: Collection[str] = ("train", "query", "gallery"),
) -> Benchmark:
    """Read a data set, leave out the images that `skip` names, and check its lists.

    Args:
        skip: list -> images, see `leave_out`.
        wanted: lists that must not be empty.

    Raises:
        ConfigError: unknown layout.
        DataError: the folder does not have this layout, a list is empty, or query and gallery share no identity.
    """
    if name not in LAYOUTS and name != AUTO:
        raise ConfigError(f"unknown layout {name!r}; there are: {', '.join((AUTO, *LAYOUTS))}")
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; --data must be the folder of the data set")
    name, _ = settle_layout(name, root)
    inner = find_root(name, root)
    benchmark = leave_out(LAYOUTS[name](inner), skip or {})
    _check(benchmark, wanted)
    into = [Finding(NOTE, f"read from {inner}", f"{root} itself does not have this layout")] if inner != root else []
    odd = into + [
        f for find in (find_gaps, find_own, find_sequences, find_mixed_tracks, find_unread) for f in find(benchmark)
    ]
    return replace(benchmark, found=(*benchmark.found, *odd))


def _check(benchmark: Benchmark, wanted: Collection[str]) -> None:
    """Raise DataError if a list is empty or query and gallery share no identity."""
    for part in wanted:
        if not len(getattr(benchmark, part)):
            hint = "" if part == "train" else MAKE.format(benchmark.root) * bool(len(benchmark.train))
            raise DataError(f"{benchmark.root}: the {part} list of layout {benchmark.name!r} is empty{hint}")
    if benchmark.query.labelled and benchmark.gallery.labelled and not benchmark.scorable:
        raise DataError(
            f"{benchmark.root}: query and gallery share no identity ({len(set(benchmark.query.pids))} and "
            f"{len(set(benchmark.gallery.pids))} identities). Does the gallery belong to another test set?"
        )
