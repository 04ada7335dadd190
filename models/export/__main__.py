"""A trained member for other programs: `python -m models.export MEMBER --onnx --safetensors`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save as save_safetensors
from torch import Tensor

from configs.console.command import CommandLine, run
from configs.console.store_options import add_runs
from configs.errors import ConfigError, ResultError
from configs.store.atomic_files import write_file, write_text
from configs.store.manifest import find_damage
from models.backbones.timm_backbone import published
from models.export.description import describe
from models.export.onnx_file import write_onnx
from models.extraction.open_member import find_member, open_member
from models.net import Net

WHAT = "Write a trained member as an ONNX graph or as plain weights, with a JSON file of how its images are prepared."
EXAMPLE = """
  python -m models.export r50 --onnx
  python -m models.export runs/members/r50-0123456789ab --safetensors --out deployed
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m models.export", WHAT, EXAMPLE)
    parser.add_argument("member", metavar="MEMBER", help="its name, or its folder in runs/members")
    parser.add_argument("--onnx", action="store_true", help="NAME.onnx: decoded images in, unit features out")
    parser.add_argument("--safetensors", action="store_true", help="NAME.safetensors: backbone and head, no classifier")
    parser.add_argument("--out", type=Path, default=Path("exported"), metavar="DIR", help="default: exported")
    parser.add_argument(
        "--no-flip", action="store_true", help="the image alone, as with ensemble.flip=false: half of the work"
    )
    add_runs(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write what is asked for, and say where.

    Raises:
        ResultError: no such member, a damaged one, or a graph that gives other features.
    """
    args = parse(argv)
    if not (args.onnx or args.safetensors):
        raise ConfigError("nothing to write; give --onnx, --safetensors or both")
    folder = Path(args.member) if Path(args.member).is_dir() else find_member(args.runs, args.member)
    if damage := find_damage(folder.absolute()):
        raise ResultError(f"{folder}: {damage}. Run the build again; it makes only what is missing")
    net, trained = open_member(folder)
    name = trained.member.name
    args.out.mkdir(parents=True, exist_ok=True)
    told = describe(net, trained, mirrored=not args.no_flip)
    if args.safetensors:
        write_file(args.out / f"{name}.safetensors", save_safetensors(plain_weights(net)))
        print(args.out / f"{name}.safetensors")
    if args.onnx:
        differs = write_onnx(net, trained.size, args.out / f"{name}.onnx", mirrored=not args.no_flip)
        print(f"{args.out / f'{name}.onnx'}: ONNX Runtime differs from the member by {differs:.0e} at most")
    write_text(args.out / f"{name}.json", json.dumps(told, indent=1) + "\n")
    print(args.out / f"{name}.json")


def plain_weights(net: Net) -> dict[str, Tensor]:
    """Every tensor that features need: `backbone.` and the names that its weights are published under, `head.`."""
    backbone = published(net.backbone).state_dict(prefix="backbone.")
    head = {k: v for k, v in net.head.state_dict(prefix="head.").items() if "classifier" not in k.split(".")}
    return {k: v.contiguous() for k, v in (backbone | head).items()}


if __name__ == "__main__":
    run(main)
