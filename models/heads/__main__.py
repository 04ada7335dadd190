"""Draw where a trained member cuts images: `python -m models.heads --member DIR --data DIR --out sheet.png`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from configs.console.command import CommandLine, at_least, run
from models.data.batches import normalise
from models.data.images import decode_all
from models.data.layouts import AUTO, read_layout, settle_layout
from models.extraction.open_member import open_member
from models.heads.branches import Branch
from models.heads.stripes import adaptive_stripes, row_maxima
from models.net import Net

PAPER, INK, CUT, EQUAL, BAR = (250, 249, 246), (40, 40, 44), (230, 30, 30), (120, 120, 120), (70, 110, 180)
GAP, TOP, BARS = 6, 20, 28  # pixels: between pictures, above them, and of the bars beside each
WHAT = "Draw the borders that ABP lays through images, and how many channels have their maximum in each row."
EXAMPLE = """
  python -m ensemble.build --members r50 --recipe abp
  python -m models.heads --member runs/members/r50-0123456789ab --data runs/drawn-people --out stripes.png
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m models.heads", WHAT, EXAMPLE)
    parser.add_argument("--member", type=Path, required=True, metavar="DIR", help="a trained member, of runs/members")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the folder of a data set")
    parser.add_argument("--layout", default=AUTO, metavar="NAME", help="the folder layout (default: auto)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the PNG file to write")
    parser.add_argument(
        "--stripes", type=at_least(1), default=3, metavar="P", help="of a member without ABP (default: 3)"
    )
    parser.add_argument("--size", type=at_least(1), nargs=2, metavar=("H", "W"), help="default: as it was trained")
    parser.add_argument(
        "--images", type=at_least(1), default=24, metavar="N", help="query images, evenly spread (default: 24)"
    )
    parser.add_argument("--columns", type=at_least(1), default=6, metavar="N", help="images a row (default: 6)")
    return parser.parse_args(argv)


def cut_maps(net: Net, images: NDArray[np.uint8], stripes: int) -> tuple[list[Tensor], Tensor]:
    """What a member's ABP makes of images (N, H, W, 3).

    Returns:
        Of each branch with ABP its (N, P, h) stripes; and (N, h) channels with their maximum in each row of the first
        of those branches. Of a member without: the stripes that ABP would cut its last map into.
    """
    maps: list[tuple[Tensor, int]] = []

    def see(module: torch.nn.Module, given: tuple[Tensor]) -> None:
        if isinstance(module, Branch) and module.adaptive and module.grid[0] > 1:
            maps.append((given[0], module.grid[0]))

    hooks = [m.register_forward_pre_hook(see) for m in net.modules() if isinstance(m, Branch)]
    raw = torch.from_numpy(images).permute(0, 3, 1, 2)
    with torch.inference_mode():
        batch = normalise(raw, torch.device("cpu"), channels_last=False, scale=net.scale)
        net(batch)
        maps = maps or [(net.backbone(batch), stripes)]
    for hook in hooks:
        hook.remove()
    return [adaptive_stripes(x, parts) for x, parts in maps], row_maxima(maps[0][0])


def has_abp(net: Net) -> bool:
    """Whether a branch of the member is pooled by ABP."""
    return any(isinstance(m, Branch) and m.adaptive and m.grid[0] > 1 for m in net.modules())


def stripe_sheet(
    images: NDArray[np.uint8], stripes: Sequence[Tensor], counts: Tensor, columns: int, what: str = "ABP"
) -> Image.Image:
    """Each image once a branch: red its borders, grey at the edges those of equal height; bars of the maxima by row."""
    (height, width), each = images.shape[1:3], len(stripes)
    across, down = width * each + GAP * (each - 1) + BARS + 3 * GAP, height + GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * across + GAP, rows * down + TOP), PAPER)
    draw = ImageDraw.Draw(sheet)
    parts = ", ".join(str(s.shape[1]) for s in stripes)
    said = f"{what}, {parts} stripes: red; equal: grey ticks; bars: maxima of the left one"
    draw.text((GAP, 3), said, INK, ImageFont.load_default(12))
    for i, image in enumerate(images):
        left, top = GAP + i % columns * across, TOP + i // columns * down
        for cut in stripes:
            sheet.paste(Image.fromarray(image), (left, top))
            _lines(draw, cut[i], (left, top, width, height))
            left += width + GAP
        share = counts[i] / counts[i].max().clamp(min=1)
        step = height / len(share)
        for row, value in enumerate(share.tolist()):
            draw.rectangle((left, top + row * step, left + BARS * value, top + (row + 1) * step - 2), BAR)
    return sheet


def _lines(draw: ImageDraw.ImageDraw, cut: Tensor, box: tuple[int, int, int, int]) -> None:
    """Draw the borders of one image's stripes (P, h) on it."""
    left, top, width, height = box
    parts, rows = cut.shape
    for k, below in enumerate(cut.sum(dim=1).cumsum(0)[:-1].tolist(), 1):
        equal, own = top + height * k / parts, top + height * below / rows
        for end in (left, left + width - 7):
            draw.line((end, equal, end + 6, equal), EQUAL, 2)
        draw.line((left, own, left + width - 1, own), CUT, 2)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sheet, and print its path."""
    args = parse(argv)
    net, trained = open_member(args.member)
    size, resampled = trained.size, trained.resampled
    if args.size:
        size = tuple(args.size)
        net.resize(size)
    layout, _ = settle_layout(args.layout, args.data)
    paths = read_layout(layout, args.data).query.paths
    picked = [paths[i] for i in np.linspace(0, len(paths) - 1, min(args.images, len(paths))).astype(int)]
    images = np.stack(list(decode_all(picked, size, resampled=resampled)))
    stripes, counts = cut_maps(net, images, args.stripes)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    what = "ABP" if has_abp(net) else "as ABP would cut (this member has none)"
    stripe_sheet(images, stripes, counts, args.columns, what).save(args.out, "PNG")
    if not has_abp(net):
        print("this member was trained without ABP: these are the borders that it would get")
    print(args.out)


if __name__ == "__main__":
    run(main)
