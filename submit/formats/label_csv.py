"""A label an image: `image_id,cluster`, or `image_id,identity` where `new_individual` is an identity too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from submit.formats.base import BadCsv, Fault, csv_line, csv_rows, decode_text

NEW_INDIVIDUAL = "new_individual"
IMAGE = "image_id"


@dataclass(frozen=True)
class ParsedLabels:
    """A parsed file, valid or not: all rows that could be parsed, in the file's order; an image may occur twice."""

    images: Sequence[str]
    labels: Sequence[str]
    lines: Sequence[int]
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelFormat:
    """A format whose answer to an image is a label.

    Attributes:
        file: file name that is written.
        column: name of the second column.
        named: labels are known identities or `new_individual`; else any text that names a cluster.
    """

    file: str
    column: str
    named: bool

    def write(self, images: Sequence[str], labels: Sequence[str]) -> bytes:
        """The file, a row an image."""
        rows = (csv_line(pair) for pair in zip(images, labels, strict=True))
        return (csv_line([IMAGE, self.column]) + "".join(rows)).encode("utf-8")

    def read(self, content: bytes) -> ParsedLabels:
        """Parse a file; never raises."""
        decoded = decode_text(content)
        if isinstance(decoded, Fault):
            return ParsedLabels([], [], [], (decoded,))
        text, notes = decoded
        header = [IMAGE, self.column]
        found, faults = list[tuple[str, str, int]](), list[Fault]()
        try:
            rows = csv_rows(text)
            first = next(rows, (1, []))[1]
            if first != header:
                told = f"wanted the header {','.join(header)}; it is {','.join(first)[:80]!r}"
                return ParsedLabels([], [], [], (Fault(1, told),))
            for line, row in rows:
                if len(row) != len(header):
                    faults.append(Fault(line, f"{len(row)} fields; wanted {IMAGE} and {self.column}"))
                    continue
                if not row[1].strip():
                    faults.append(Fault(line, f"image {row[0]!r}: the {self.column} is empty"))
                found.append((row[0], row[1], line))
        except BadCsv as e:
            return ParsedLabels([], [], [], (e.fault,))
        images, labels, lines = ([row[i] for row in found] for i in range(3))
        return ParsedLabels(images, labels, lines, tuple(faults), notes)  # type: ignore[arg-type]


CLUSTERS_CSV = LabelFormat("clusters.csv", "cluster", named=False)
IDENTITIES_CSV = LabelFormat("identities.csv", "identity", named=True)
