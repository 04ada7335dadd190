"""A contact sheet of a drawn data set, from its files: people in rows, cameras in columns."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.data.drawn.camera import CAMERAS, cameras
from models.data.drawn.person import GROUP
from models.data.drawn.plan import TRAIN

PAPER, INK = (250, 249, 246), (40, 40, 44)
COLOURS = 120
LEFT, TOP, GAP, BREAK = 42, 22, 2, 12
"""Pixels: margins for names, gap between pictures, gap between groups and between cameras."""


def write_sheet(folder: Path, file: Path, *, groups: int = 2, shots: int = 2) -> Path:
    """Lay out people of a drawn folder's training pictures.

    Args:
        folder: what draw_people wrote.
        file: a PNG to write, in COLOURS colours to stay small.
        groups: how many groups of GROUP people in one outfit, evenly spread over the data set; a line
            at the left joins them.
        shots: pictures of each person under each camera, fewer where there are fewer.

    Returns:
        file.
    """
    found = pictures_of(folder)
    rows = pick_rows(found, groups)
    height, width = np.asarray(Image.open(next(iter(found.values()))[0])).shape[:2]
    across = LEFT + CAMERAS * (shots * (width + GAP) + BREAK)
    down = TOP + len(rows) * (height + GAP) + groups * BREAK
    sheet = Image.new("RGB", (across, down), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for top in range(TOP, down, GROUP * (height + GAP) + BREAK):
        draw.line((5, top, 5, top + GROUP * (height + GAP) - GAP - 1), INK, 2)
    for camera, setting in enumerate(cameras(), start=1):
        left = LEFT + (camera - 1) * (shots * (width + GAP) + BREAK)
        draw.text((left, 5), f"{camera} {setting.place}", INK, font)
        for row, pid in enumerate(rows):
            top = TOP + row * (height + GAP) + row // GROUP * BREAK
            draw.text((12, top + height // 2 - 8), f"{pid:03d}", INK, font)
            for number, path in enumerate(found.get((pid, camera), [])[:shots]):
                sheet.paste(Image.open(path), (left + number * (width + GAP), top))
    file.parent.mkdir(parents=True, exist_ok=True)
    few = sheet.quantize(COLOURS, Image.Quantize.MEDIANCUT, kmeans=4, dither=Image.Dither.NONE)
    few.save(file, "PNG", optimize=True)
    return file


def pictures_of(folder: Path) -> dict[tuple[int, int], list[Path]]:
    """Training pictures by (pid, camera), in the order of their names."""
    found: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for path in sorted((folder / TRAIN).glob("*.jpg")):
        pid, camera = path.name.split("s")[0].split("_c")
        found[int(pid), int(camera)].append(path)
    return found


def pick_rows(found: dict[tuple[int, int], list[Path]], groups: int) -> list[int]:
    """Pids of some groups, evenly spread over those whose people were all seen by all cameras."""
    seen: dict[int, int] = defaultdict(int)
    for pid, _ in found:
        seen[(pid - 1) // GROUP] += 1
    whole = [group for group in sorted(seen) if seen[group] == GROUP * CAMERAS] or sorted(seen)
    chosen = ((np.arange(groups) + 0.5) * len(whole) / groups).astype(int)
    return sorted({pid for pid, _ in found if (pid - 1) // GROUP in {whole[index] for index in chosen}})
