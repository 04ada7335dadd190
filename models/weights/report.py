"""Report what happened to every tensor of a weights file, and whether enough tensors match."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from configs.errors import WeightsError
from models.weights.name_maps import NameMap, ways_of
from models.weights.sources import ADVICE

ENOUGH = 0.95  # minimum share of the backbone's tensors that match, without those in `fresh`
NAMED_ALIKE = 0.5  # minimum share of their names in the file; less means another naming scheme
IN = "in"


class Fate(NamedTuple):
    """One tensor: its name in the file and in the backbone, empty if not there. what: `in`, or why it is not loaded."""

    file: str
    backbone: str
    shape: tuple[int, ...]
    what: str


@dataclass(frozen=True)
class LoadReport:
    """What happened to every tensor of a weights file and of the backbone.

    Attributes:
        prefix: of the backbone's names in the file, such as `module.`; it is stripped.
        matched: number of loaded tensors.
        fresh: tensors of the backbone that `weights.fresh` names. missing: other tensors that the file does not have.
        unexpected: tensors of the file, in a module of the backbone. reshaped: in both, with different shapes.
        left_over: tensors of the file, in other modules, such as a classifier.
        renamed: the naming scheme (`name_maps.py`), if the names are not the backbone's.
        remarks: effects on the features: missing parts of the network, another position grid.
        tensors: every tensor, in the file's order, then those of the backbone only.
    """

    source: str
    sha256: str
    prefix: str
    matched: int
    fresh: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    left_over: tuple[str, ...]
    renamed: str = ""
    remarks: tuple[str, ...] = ()
    tensors: tuple[Fate, ...] = ()

    def __str__(self) -> str:
        said = f"{self.source} (SHA-256 {self.sha256[:12]}): {self.matched} tensors matched"
        said += f", renamed from {self.renamed}" if self.renamed else ""
        said += f", prefix {self.prefix!r} stripped" if self.prefix else ""
        for word in ("fresh", "missing", "unexpected", "reshaped", "left_over"):
            if names := getattr(self, word):
                said += f", {len(names)} {word.replace('_', ' ')} ({first(names)})"
        return "; ".join((said, *self.remarks))

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    def table(self) -> str:
        """A line for each tensor."""
        rows = [("in the file", "in the backbone", "shape", "")]
        rows += [(f.file or "-", f.backbone or "-", "x".join(map(str, f.shape)) or "1", f.what) for f in self.tensors]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join("  ".join((*(t.ljust(w) for t, w in zip(row, widths, strict=False)), row[3])) for row in rows)


def refuse_others(report: LoadReport, file: Collection[str], own: Collection[str]) -> None:
    """Raise WeightsError unless enough tensors of the backbone and of the file match."""
    wanted = len(own) - len(report.fresh)
    named = report.matched + len(report.reshaped)
    advice = f"Name another file in members.NAME.weights, {ADVICE}"
    if named < NAMED_ALIKE * wanted:
        known = [_said_of(way) for way in ways_of(file)[:1]] or [
            "Another network's weights have other names; those of this one must be renamed to the backbone's"
        ]
        raise WeightsError(
            f"{report.source}: {named} of the backbone's {wanted} names are in it. Its names begin "
            f"{first(sorted(file))}; the backbone's are {first(sorted(own))}. {known[0]}. {advice}"
        )
    theirs = named + len(report.unexpected)
    if report.matched >= ENOUGH * max(wanted, theirs):
        return
    counts = f"{report}. {report.matched} of the {wanted} tensors wanted and of the {theirs} in the file"
    if report.reshaped or report.unexpected:
        raise WeightsError(f"{counts}: these are another network's weights. {advice}")
    raise WeightsError(f"{counts}: the file holds a part of this network, or a smaller one. {advice}")


def _said_of(way: NameMap) -> str:
    """A message: which network a file with these names belongs to."""
    if not way.takes:
        return f"Its names are those of {way.whose}, and there is no such network here"
    return f"Its names are those of {way.whose}; the members that take such a file: {way.takes}"


def first(names: Collection[str]) -> str:
    """The first three names."""
    return ", ".join(list(names)[:3]) + (" ..." if len(names) > 3 else "")
