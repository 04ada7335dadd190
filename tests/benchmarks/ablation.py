"""Each part of the recipe switched on alone over the baseline, with one small member: what it brings, and what not.

    python -m tests.benchmarks.ablation --data drawn DIR --seeds 3 --out ablation
    python -m tests.benchmarks.ablation --out ablation --table

Every finished run is a line of OUT/runs.jsonl, so that a killed one goes on. Runs go seed by seed: stopped early, it
leaves whole tables of fewer seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.console.command import CommandLine, run
from configs.console.progress import Progress
from configs.load import load_build_config
from configs.schema import BuildConfig
from configs.store.store import Address
from ensemble import metrics
from ensemble.neighbours import distance_blocks
from models.data.balance import balance
from models.data.drawn import draw_people
from models.data.images import decode_all
from models.data.layouts import AUTO, read_layout, settle_layout
from models.data.split import Benchmark, Split
from models.device import choose_device, choose_precision
from models.extraction.extract import extract, load_member
from models.extraction.views import make_views
from models.training.keeper import EPOCHS
from models.training.train import train_member
from tests.benchmarks.paired import table
from tests.benchmarks.parts import PARTS, changes

DRAWN_IDS, DRAWN_LEVEL = 200, "hard"
WHAT = "Switch on each part of the recipe alone over the baseline, and print mean and spread over the seeds."
EXAMPLE = """
  python -m tests.benchmarks.ablation --data drawn my_folder --seeds 3 --out ablation
"""


@dataclass(frozen=True)
class Pixels:
    """A data set whose images were decoded once: arrays (N, H, W, 3) uint8 in the order of its lists."""

    benchmark: Benchmark
    train: np.ndarray
    query: np.ndarray
    gallery: np.ndarray


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = CommandLine("python -m tests.benchmarks.ablation", WHAT, EXAMPLE)
    parser.add_argument("--data", nargs="+", default=["drawn"], metavar="DIR", help="folders, or drawn")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--parts", default=",".join(PARTS), metavar="LIST", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every run alike")
    parser.add_argument("--out", type=Path, default=Path("ablation"), metavar="DIR", help="default: ablation")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--table", action="store_true", help="print what there is, and run nothing")
    return parser.parse_args(argv)


def plan_of(data: str, part: str, seed: int, sets: Sequence[str]) -> BuildConfig:
    """The baseline for this data set with one part switched on."""
    return load_build_config(["small"], competition="own", recipe="baseline", sets=[*changes(data, part, seed), *sets])


def key_of(data: str, part: str, seed: int, plan: BuildConfig) -> str:
    """What a line is known by: another setting is another run."""
    asked = {"member": plan.members[0].model_dump(mode="json"), "recipe": plan.recipe.model_dump(mode="json")}
    return Address(data, part, asked | {"flip": plan.ensemble.flip, "seed": seed}).key


def planned(chosen: argparse.Namespace) -> Iterator[tuple[str, str, int, BuildConfig]]:
    """Every (data, part, seed) with its plan, seed by seed."""
    for seed in range(chosen.seeds):
        for data in chosen.data:
            for part in chosen.parts.split(","):
                yield data, part, seed, plan_of(data, part, seed, chosen.set)


def read_pixels(data: str, size: tuple[int, int], out: Path) -> Pixels:
    """Read the lists and decode every image."""
    folder = Path(data)
    if data == "drawn":
        folder = draw_people(out / "drawn-people", ids=DRAWN_IDS, level=DRAWN_LEVEL, size=size)
    layout, _ = settle_layout(AUTO, folder)
    benchmark = read_layout(layout, folder, ())

    def decoded(split: Split) -> np.ndarray:
        return np.stack(list(decode_all(split.paths, size)))

    return Pixels(benchmark, *(decoded(s) for s in (benchmark.train, benchmark.query, benchmark.gallery)))


def measure(plan: BuildConfig, pixels: Pixels, device: torch.device) -> dict[str, Any]:
    """Train the member, extract and score it."""
    member, recipe, bench = plan.members[0], plan.recipe, pixels.benchmark
    precision, progress = choose_precision(recipe.precision, device), Progress(quiet=True)
    training = balance(bench.train, recipe.min_images, recipe.resample, recipe.seed)
    images = pixels.train[np.isin(bench.train.pids, training.pids)]
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        how = {"device": device, "precision": precision, "progress": progress}
        train_member(member, recipe, training, images, Path(folder), workers=0, pretrained=None, **how)
        epochs = [json.loads(line) for line in (Path(folder) / EPOCHS).read_text().splitlines()]
        net = load_member(member, Path(folder), recipe.size)
    trained, last = time.process_time() - begun, recipe.channels_last
    views = make_views(plan.ensemble.views, plan.ensemble.flip)
    asked = {"views": views, "channels_last": last, **how}
    feats = np.concatenate(
        [
            extract(net, array, split.names, **asked)
            for array, split in ((pixels.query, bench.query), (pixels.gallery, bench.gallery))
        ]
    )
    known = bench.query.camids.min() >= 0 <= bench.gallery.camids.min()
    score = metrics.evaluate_blocks(
        distance_blocks.blocks(feats, len(bench.query)),
        bench.query.pids,
        bench.gallery.pids,
        *((bench.query.camids, bench.gallery.camids) if known else ()),
        ap="market",
        junk="same_pid_same_cam" if known else "none",
    )
    return {
        "rank1": score.rank1,
        "map": score.map,
        "total": score.total,
        "loss": epochs[-1]["loss"],
        "images": sum(e["images"] for e in epochs),
        "train_cpu_s": round(trained, 1),
        "cpu_s": round(time.process_time() - begun, 1),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, then print the tables."""
    chosen = parse(argv)
    chosen.out.mkdir(parents=True, exist_ok=True)
    file = chosen.out / "runs.jsonl"
    done = read_lines(file)
    progress, device, kept = Progress(), choose_device(chosen.device)[0], {}
    todo = [] if chosen.table else [(*p, key_of(*p)) for p in planned(chosen)]
    todo = [p for p in todo if p[-1] not in done]
    for number, (data, part, seed, plan, key) in enumerate(todo, 1):
        where = (data, plan.recipe.size)
        if where not in kept:
            kept[where] = read_pixels(data, plan.recipe.size, chosen.out)
        got = measure(plan, kept[where], device)
        line = {"key": key, "data": data, "part": part, "seed": seed, **got}
        with open(file, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")
            f.flush()
            os.fsync(f.fileno())
        done[key] = line
        progress.say(f"{number} of {len(todo)}: {key}: total {100 * got['total']:.1f}, {got['cpu_s']:.0f} s")
    asked = list(done) if chosen.table else [key_of(*run) for run in planned(chosen)]
    for data in dict.fromkeys(done[key]["data"] for key in asked):
        print(f"\n{data}\n\n{table([done[key] for key in asked if done[key]['data'] == data], chosen.seeds)}")


def read_lines(file: Path) -> dict[str, dict[str, Any]]:
    """The finished runs by their keys; a torn last line is none."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {row["key"]: row for row in rows}


if __name__ == "__main__":
    run(main)
