"""Images a second in training, by the real loop: the strong recipe, or another, against the baseline.

    python -m tests.benchmarks.recipe --size 256 128 --member r50
    python -m tests.benchmarks.recipe --size 128 64 --against mgn

The two alternate, after a short epoch each that does not count; medians of the epochs' own rates, worker start
included. Resampling is left out, so that both see as many images.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.console.command import CommandLine, run
from configs.console.progress import Progress
from configs.load import load_build_config
from configs.schema import BuildConfig
from models.data.balance import balance
from models.device import choose_device, choose_precision
from models.training.keeper import EPOCHS
from models.training.train import train_member
from tests.tiny import training

WHAT = "Measure images a second of a training epoch under the baseline and under another recipe."
EXAMPLE = """
  python -m tests.benchmarks.recipe --size 256 128 --against strong
"""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m tests.benchmarks.recipe", WHAT, EXAMPLE)
    parser.add_argument("--member", default="r50", metavar="NAME", help="of configs/members.yaml (default: r50)")
    parser.add_argument("--against", default="strong", metavar="NAME", help="a named recipe (default: strong)")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("H", "W"), help="default: 256 128")
    parser.add_argument("--identities", type=int, default=32, metavar="N", help="of 8 images each (default: 32)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(argv)


def rate(plan: BuildConfig, args: argparse.Namespace, identities: int) -> float:
    """Images a second of one epoch on pictures of noise."""
    recipe, (device, _) = plan.recipe, choose_device(args.device)
    given, images = training(identities, 8, tuple(args.size))
    balanced = balance(given.split, recipe.min_images, recipe.resample, recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        train_member(
            plan.members[0],
            recipe,
            balanced,
            images,
            Path(folder),
            device=device,
            precision=choose_precision(recipe.precision, device),
            workers=args.workers,
            progress=Progress(quiet=True),
            pretrained=None,
        )
        epoch = json.loads((Path(folder) / EPOCHS).read_text(encoding="utf-8"))
    return float(epoch["images"] / epoch["seconds"])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the rates and their ratio."""
    args = parse(argv)
    sets = [f"recipe.size={list(args.size)}", "recipe.epochs=1", "recipe.pretrained=false", "recipe.resample=null"]
    plans = {
        n: load_build_config([args.member], competition="own", recipe=n, sets=sets) for n in ("baseline", args.against)
    }
    seen: dict[str, list[float]] = {name: [] for name in plans}
    for plan in plans.values():
        rate(plan, args, plan.recipe.identities_per_batch)
    for _ in range(args.repeats):
        for name, plan in plans.items():
            seen[name].append(rate(plan, args, args.identities))
    medians = {name: float(np.median(rates)) for name, rates in seen.items()}
    for name, rates in seen.items():
        print(f"{name}: {medians[name]:.1f} images/s ({', '.join(f'{r:.1f}' for r in rates)})")
    print(f"{args.against} / baseline: {medians[args.against] / medians['baseline']:.3f}")


if __name__ == "__main__":
    run(main)
