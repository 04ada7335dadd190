"""A contact sheet of augmentations: `python -m models.data.augment --show erase --out sheet.png`."""

from __future__ import annotations

import argparse
import inspect
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

from configs.console.command import CommandLine, at_least, run
from configs.errors import ConfigError
from configs.recipe import ALSO_CALLED
from configs.schema import ComponentConfig
from models.data.augment import Augment, Image, Seat, image_rng
from models.data.drawn import draw_people
from models.data.images import decode_all
from models.data.layouts import read_layout
from models.registry import AUGMENTS, make

PAPER, INK = (250, 249, 246), (40, 40, 44)
GAP, TOP = 4, 20  # pixels between images, and above them
POOL = 100  # images that are read; some augmentations use pixels of other images
FIRST = 1000  # index of the first row in its epoch: the images before it fill RandomPatch's pool


WHAT = "Write a contact sheet of augmentations: each image, and random variants of it as in training."
EXAMPLE = """
  python -m models.data.augment --show random_patch --out sheet.png
  python -m models.data.augment --show flip,erase --set fill=mean --data DIR --layout market1501 --out sheet.png
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m models.data.augment", WHAT, EXAMPLE)
    parser.add_argument(
        "--show", required=True, metavar="NAME", help=f"one or several, separated by commas: {', '.join(AUGMENTS)}"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the PNG file to write")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the folder of a data set (default: drawn people)")
    parser.add_argument("--layout", default="market1501", metavar="NAME", help="layout of --data (default: market1501)")
    parser.add_argument(
        "--size", type=at_least(1), nargs=2, default=(256, 128), metavar=("H", "W"), help="default: 256 128"
    )
    parser.add_argument("--rows", type=at_least(1), default=6, metavar="N", help="number of images (default: 6)")
    parser.add_argument("--columns", type=at_least(1), default=8, metavar="N", help="variants per image (default: 8)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="random seed (default: 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option, such as fill=mean (default: p=1)"
    )
    return parser.parse_args(argv)


def read_images(data: Path | None, layout: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The first training images of a data set, (N, H, W, 3)."""
    with tempfile.TemporaryDirectory() as folder:
        if data is None:
            data, layout = draw_people(Path(folder) / "people", ids=16), "drawn"
        train = read_layout(layout, data).train
        return np.stack(list(decode_all(train.paths[:POOL], size)))


def make_chain(names: str, sets: Sequence[str], images: NDArray[np.uint8], seed: int) -> list[Augment]:
    """The augmentations of a comma-separated list. Each has probability 1 unless `p` is set."""
    options: dict[str, object] = {}
    for change in sets:
        key, equals, value = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change!r}: must be KEY=VALUE, such as fill=mean")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as e:
            raise ConfigError(f"--set {change!r}: {value!r} is not a YAML value") from e
    chain = []
    for name in (ALSO_CALLED.get(name, name) for name in names.split(",")):
        row = AUGMENTS.get(name)
        always = {"p": 1.0} if row and "p" in inspect.signature(row).parameters else {}
        named = ComponentConfig(name=name, **(always | options))
        chain.append(make(AUGMENTS, "augmentation", named, images=images, seed=seed))
    return chain


def contact_sheet(
    images: NDArray[np.uint8],
    picked: Sequence[int] | NDArray[np.intp],
    chain: Sequence[Augment],
    columns: int,
    seed: int,
    title: str,
) -> Pil.Image:
    """A row per picked image: the image, then `columns` variants, as in epochs 0, 1, 2 ..."""
    height, width = images.shape[1:3]
    across = (columns + 1) * (width + GAP) + GAP
    down = len(picked) * (height + GAP) + TOP
    sheet = Pil.new("RGB", (across, down), PAPER)
    ImageDraw.Draw(sheet).text((GAP, 3), title, INK, ImageFont.load_default(12))
    for row, at in enumerate(picked):
        for column in range(columns + 1):
            seen = images[at] if column == 0 else seen_in(images, at, chain, seed, epoch=column - 1, row=row)
            place = (GAP + column * (width + GAP), TOP + row * (height + GAP))
            sheet.paste(Pil.fromarray(np.ascontiguousarray(seen)), place)
    return sheet


def seen_in(images: NDArray[np.uint8], at: int, chain: Sequence[Augment], seed: int, *, epoch: int, row: int) -> Image:
    """An image as augmented in an epoch. The images before it are all others, shuffled and repeated."""
    order = np.resize(np.random.default_rng([seed, epoch]).permutation(len(images)), FIRST + row + 1)
    order[-1] = at
    image, rng = images[at], image_rng(seed, epoch, FIRST + row)
    for change in chain:
        image = change(image, rng, Seat(epoch, FIRST + row, order))
    return image


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sheet and print its path."""
    args = parse(argv)
    make_chain(
        args.show, args.set, np.zeros((1, *args.size, 3), np.uint8), args.seed
    )  # report wrong options before reading images
    images = read_images(args.data, args.layout, tuple(args.size))
    chain = make_chain(args.show, args.set, images, args.seed)
    picked = np.linspace(0, len(images) - 1, min(args.rows, len(images))).astype(int)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images, picked, chain, args.columns, args.seed, f"{args.show} {' '.join(args.set)}").save(
        args.out, "PNG"
    )
    print(args.out)


if __name__ == "__main__":
    run(main)
