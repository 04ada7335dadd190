"""VisDA 2020: `result.txt` in a zip; a line a query in index order, gallery indices from 0, padded with zeros."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
import zlib
from dataclasses import replace

from submit.formats.base import MAX_BYTES, Answers, Fault, Format, Names, ParsedSubmission, broken, read_number_lines

INSIDE = "result.txt"
WIDTH = 4  # at least: the organisers' page counts 0000 to 3599
LARGE, SWELL = 64 << 20, 100  # past so many bytes, unpacking to so many times the size is a bomb
DAMAGED = (  # what zipfile and its unpackers raise: no zip, a password, an unknown method, bytes that were changed
    zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError,
    OverflowError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
ANY_TIME = (2020, 1, 1, 0, 0, 0)  # in the archive, so that the same lists give the same bytes


def tokens(names: Names) -> Names:
    """Queries by their line, from 1; gallery images by their index, from 0, without padding."""
    return Names(
        tuple(str(i) for i in range(1, len(names.query) + 1)), tuple(str(i) for i in range(len(names.gallery)))
    )


def write(answers: Answers) -> bytes:
    """The zip; indices are padded to the digits of the largest, at least four."""
    width = max(WIDTH, max((len(t) for numbers in answers.lists for t in numbers), default=0))
    text = "".join(" ".join(t.zfill(width) for t in numbers) + "\n" for numbers in answers.lists)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(INSIDE, ANY_TIME), text.encode("ascii"), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def read(content: bytes) -> ParsedSubmission:
    """The zip, or the text that belongs in it. Every index of a file has the same number of digits."""
    notes: tuple[str, ...] = ()
    if content[:2] == b"PK":
        unpacked = _unpack(content)
        if isinstance(unpacked, Fault):
            return broken(unpacked.line, unpacked.text)
        content = unpacked
    else:
        notes = (f"not a zip: {INSIDE} is handed in inside one",)
    sheet = read_number_lines(content)
    widths = {len(t) for numbers in sheet.answers.lists for t in numbers}
    faults = sheet.faults
    if len(widths) > 1:
        mixed = f"indices of {min(widths)} to {max(widths)} digits; wanted all padded with zeros to the same width"
        faults = (*faults, Fault(None, mixed))
    lists = [[t.lstrip("0") or "0" for t in numbers] for numbers in sheet.answers.lists]
    return replace(sheet, answers=Answers(sheet.answers.queries, lists), faults=faults, notes=notes + sheet.notes)


def _unpack(content: bytes) -> bytes | Fault:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inside = [info for info in archive.infolist() if not info.is_dir()]
            if [info.filename for info in inside] != [INSIDE]:
                return Fault(None, f"the zip holds {[i.filename for i in inside][:5]}; wanted {INSIDE} alone")
            if inside[0].file_size > MAX_BYTES:
                return Fault(None, f"{INSIDE} would unpack to {inside[0].file_size:,} bytes; it is not read")
            if inside[0].file_size > max(LARGE, SWELL * inside[0].compress_size):
                swell = f"{inside[0].compress_size:,} bytes that would unpack to {inside[0].file_size:,}"
                return Fault(None, f"{INSIDE}: {swell}, as no lists of numbers do; it is not read")
            with archive.open(inside[0]) as file:
                return file.read(MAX_BYTES + 1)
    except DAMAGED as e:
        return Fault(None, f"a zip that cannot be unpacked ({e or type(e).__name__})")


VISDA_TXT = Format("result.zip", write, read, tokens)
