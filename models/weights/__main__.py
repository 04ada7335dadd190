"""Print which tensors of a weights file fit a member: `python -m models.weights FILE --member r50`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from configs.console.command import CommandLine, run
from configs.load import load_build_config
from configs.schema import Weights
from configs.store.atomic_files import file_digest
from models import registry
from models.backbones.timm_backbone import published
from models.weights.load import learned, match
from models.weights.read_file import read_tensors
from models.weights.report import refuse_others

WHAT = "Print a line for each tensor of a weights file: where it goes in a member's backbone, or why it is left out."
EXAMPLE = """
  python -m models.weights market_agw_R50.pth --member r50
  python -m models.weights clip_reid.pth --member vit=timm:vit_base_patch16_clip_quickgelu_224
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m models.weights", WHAT, EXAMPLE)
    parser.add_argument("file", type=Path, metavar="FILE", help=".pth, .pt, .bin or .safetensors")
    parser.add_argument("--member", required=True, metavar="NAME", help="as of ensemble.build --members")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="such as members.r50.weights.prefix=model.",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table and its summary.

    Raises:
        WeightsError: a build would refuse the file. The table is printed first.
    """
    args = parse(argv)
    (member,) = load_build_config([args.member], sets=args.set).members
    asked = member.weights.model_dump(include={"fresh", "prefix", "grid"}) if member.weights else {}
    file = read_tensors(args.file)
    with torch.device("meta"):
        backbone = published(registry.make_net(member, classes=2).backbone)
    weights = Weights(file=str(args.file), **asked)
    report, _ = match(backbone, file, weights, source=str(args.file), sha256=file_digest(args.file))
    print(report.table())
    refuse_others(report, file, learned(backbone))
    print(report)


if __name__ == "__main__":
    run(main)
