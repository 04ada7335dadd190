"""A contact sheet of groups, one per row. Images of another identity have a red frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from configs.errors import ConfigError
from models.data.images import decode

PAPER, INK, WRONG = (250, 249, 246), (40, 40, 44), (220, 30, 30)
GAP = 4  # pixels between images
LEFT = 76  # pixels for names
TOP = 20  # pixels above the images
EDGE = 3  # pixels of a frame
LINE = 15  # pixels per line of the title


def group_sheet(
    paths: Sequence[Path],
    labels: NDArray[np.int64],
    pids: NDArray[np.int64] | None,
    *,
    size: tuple[int, int],
    rows: int = 14,
    columns: int = 12,
    title: str = "",
) -> Image.Image:
    """Groups sorted by size, sampled evenly from the largest to the smallest.

    Args:
        paths, labels, pids: of N images. -1 is no group, or an unknown identity.
        size: height, width of an image.
        rows, columns: largest number of groups, and of images per group.

    Raises:
        ConfigError: there is no group.
    """
    groups, counts = np.unique(labels[labels >= 0], return_counts=True)
    if not len(groups):
        raise ConfigError("there is no group to show; raise the distance threshold")
    by_size = np.argsort(-counts, kind="stable")
    picked = by_size[np.linspace(0, len(groups) - 1, min(rows, len(groups))).astype(int)]
    (height, width), font = size, ImageFont.load_default(12)
    across = LEFT + columns * (width + GAP)
    lines = wrapped(title, font, across - 2 * GAP)
    above = TOP + (len(lines) - 1) * LINE
    sheet = Image.new("RGB", (across, above + len(picked) * (height + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        draw.text((GAP, 3 + number * LINE), line, INK, font)
    for row, place in enumerate(picked):
        members, top = np.flatnonzero(labels == groups[place]), above + row * (height + GAP)
        most = _most_frequent(pids[members]) if pids is not None else None
        right = "" if most is None else f"\n{np.mean(pids[members] == most):.0%} of one"  # type: ignore[index]
        draw.text((GAP, top + height // 3), f"{len(members)} images{right}", INK, font)
        shown = members[np.linspace(0, len(members) - 1, min(columns, len(members))).astype(int)]
        for column, image in enumerate(shown):
            left = LEFT + column * (width + GAP)
            sheet.paste(Image.fromarray(np.ascontiguousarray(decode(paths[image], size))), (left, top))
            if most is not None and pids[image] != most:  # type: ignore[index]
                draw.rectangle((left, top, left + width - 1, top + height - 1), outline=WRONG, width=EDGE)
    return sheet


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines of at most `width` pixels, broken between words. A longer word gets its own line."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _most_frequent(pids: NDArray[np.int64]) -> int | None:
    """The most frequent known pid, the lowest on a tie. None if no pid is known."""
    known, counts = np.unique(pids[pids >= 0], return_counts=True)
    return int(known[counts.argmax()]) if len(known) else None
