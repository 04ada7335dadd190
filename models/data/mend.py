"""Repair of damaged image files with complete pixels. A remark says what was damaged."""

from __future__ import annotations

import hashlib
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

SIGNATURE, END = b"\x89PNG\r\n\x1a\n", b"\xff\xd9"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
FILL = 512  # bytes appended to find missing pixels


def repair_image(path: Path, error: Exception) -> tuple[bytes, str]:
    """The repaired bytes of a file, and a remark.

    Raises:
        the error: pixels are missing, or the file has another fault.
    """
    content = path.read_bytes()
    if content.startswith(SIGNATURE) and "text" in str(error).lower():
        return _without_texts(content), "a PNG with too much text; the text is ignored"
    if content.startswith(b"\xff\xd8") and "truncated" in str(error):
        body = content.removesuffix(b"\xff")
        try:
            whole = _whole(body)
        except Exception:  # Pillow's readers raise any error on damaged bytes
            whole = False
        if whole:
            return body + END, "a JPEG without its last bytes; its pixels are complete"
    raise error


def _without_texts(content: bytes) -> bytes:
    """A PNG without its text chunks."""
    kept, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        if kind not in TEXTS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _whole(body: bytes) -> bool:
    """Whether a JPEG without its end has all pixels: then appended bytes change none of them.

    False for a progressive JPEG, which shows all pixels, blurred, long before its end.
    """
    seen = []
    for word in (b"", b"one", b"other"):
        fill = b"".join(hashlib.sha256(word + bytes([i])).digest() for i in range(FILL // 32)) if word else b""
        with Image.open(io.BytesIO(body + fill.replace(b"\xff", b"\0") + END), formats=("JPEG",)) as image:
            if image.info.get("progressive"):
                return False
            seen.append(np.asarray(image))
    return all(np.array_equal(one, seen[0]) for one in seen[1:])
