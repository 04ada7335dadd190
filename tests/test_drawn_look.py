"""The drawn people look as they did when BENCHMARKS.md was measured on them: means of the pictures, laid on one sheet.

Where another look is meant, `python -m tests.test_drawn_look` draws the sheet anew, and the tables of drawn people are
to be measured again.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from models.data.drawn.camera import levels
from models.data.drawn.picture import take_picture
from models.data.drawn.plan import plan_entries
from models.data.drawn.world import make_plates

SHEET = Path(__file__).with_name("drawn_look.png")
SIZE, ACROSS = (64, 32), 20
PICTURES = {"normal": (80, 14), "hard": (200, 60)}  # level: so many people, and every so-manieth of their pictures


def sheet():
    """Every picture as 8 x 4 means of 8 x 8 pixels, in rows of 20."""
    tiles = []
    for level, (ids, step) in PICTURES.items():
        plates = make_plates(0, SIZE, level)
        for entry in plan_entries(ids, 0)[::step]:
            camera, plate = plates[entry.shot.camera - 1]
            data = take_picture(entry.shot, 0, SIZE, camera, plate, levels()[level])
            pixels = np.asarray(Image.open(io.BytesIO(data)), np.float64)
            tiles.append(pixels.reshape(8, 8, 4, 8, 3).mean(axis=(1, 3)))
    tiles += [np.zeros((8, 4, 3))] * (-len(tiles) % ACROSS)
    rows = [np.concatenate(tiles[i : i + ACROSS], axis=1) for i in range(0, len(tiles), ACROSS)]
    return np.concatenate(rows)


def test_the_people_look_as_they_did():
    now, then = sheet(), np.asarray(Image.open(SHEET), np.float64)
    assert now.shape == then.shape and np.abs(now - then).max() < 1  # rounding: half a level, and a little for the CPU


if __name__ == "__main__":
    Image.fromarray(np.rint(sheet()).astype(np.uint8)).save(SHEET, optimize=True)
