"""A whole build on a GPU, as a user runs it: what of the bare step's speed is left in a member's time from end to end.

`python -m tests.benchmarks.gpu --part build [--data DIR]`. Without --data it draws photographs: 2,781 of 40 products to
train on, 1,197 queries and 1,443 gallery images, smooth JPEGs of 144 pixels on the shorter side, in `table` layout.
Five members at 128x128 from random weights; times are those of the build's own log.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from tests.benchmarks.gpu.figures import Table

ROOT = Path(__file__).parent.parent.parent.parent
MEMBERS = ("r50", "rx50", "ibn_a", "ibn_b", "se_ibn_a")
PRODUCTS, COUNTS = 40, {"train": 2781, "query": 1197, "gallery": 1443}
SIZE = (144, 192)  # of a photograph: height, width
EPOCHS = 30


def draw(folder: Path, counts: dict[str, int] | None = None, size: tuple[int, int] = SIZE) -> Path:
    """A data set of smooth pictures, each of a product's colours and its own changes to them, in `table` layout."""
    rows, tasks = [], []
    for number, (part, count) in enumerate((counts or COUNTS).items()):
        for i in range(count):
            product = i % PRODUCTS + (PRODUCTS if part != "train" else 0)
            path = f"{part}/{i:05d}.jpg"
            tasks.append((folder / path, size, product, number * 10**6 + i))
            test = part != "train"
            rows.append([product, path, "validation" if test else "train", test and part == "query", part == "gallery"])
        (folder / part).mkdir(parents=True)
    Parallel(n_jobs=-1, prefer="threads")(delayed(photograph)(*task) for task in tasks)
    with open(folder / "df.csv", "w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(["label", "path", "split", "is_query", "is_gallery"])
        writer.writerows([label, path, split, int(query), int(gallery)] for label, path, split, query, gallery in rows)
    return folder


def photograph(path: Path, size: tuple[int, int], product: int, seed: int) -> None:
    """One JPEG: 6 x 8 colours of the product, changed a little, drawn large."""
    colours = np.random.default_rng(product).integers(30, 226, (6, 8, 3))
    own = np.clip(colours + np.random.default_rng([seed, 1]).integers(-25, 26, colours.shape), 0, 255)
    picture = Image.fromarray(own.astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    picture.save(path, "JPEG", quality=90)


def build(data: Path, out: Path, seconds: float, *more: str) -> str:
    """Run `ensemble.build`, at most so long; how it ended, in words."""
    argv = [sys.executable, "-m", "ensemble.build", "--members", ",".join(MEMBERS), "--layout", "table"]
    argv += ["--data", str(data), "--out", str(out), *more]
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            argv, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"ended after {seconds:.0f} s, before its end"
    print("\n".join(f"> {line}" for line in done.stderr.splitlines()[-40:]))
    return "finished" if done.returncode == 0 else f"failed with status {done.returncode}"


def events_of(out: Path) -> list[dict[str, Any]]:
    """The lines of the build's log, with seconds since its first."""
    path = out / "logs" / "build.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    times = [datetime.fromisoformat(event["time"]).timestamp() for event in events]
    return [event | {"at": at - times[0]} for event, at in zip(events, times, strict=True)]


def spans(events: list[dict[str, Any]], kind: str) -> dict[str, float]:
    """Seconds from begun to done of each result of a kind, by its name."""
    begun = {e["key"]: e["at"] for e in events if e["event"] == "begun" and e["kind"] == kind}
    return {e["name"]: e["at"] - begun[e["key"]] for e in events if e["event"] == "done" and e["kind"] == kind}


def member_cells(events: list[dict[str, Any]], name: str) -> list[str]:
    """Of one member: images a second over its whole training, the loop's own median, its seconds and its features'."""
    epochs = [e for e in events if e["event"] == "epoch" and e["member"] == name]
    whole = spans(events, "members").get(name)
    if whole is None or not epochs:
        return [f"not finished: {len(epochs)} epochs", "", "", ""]
    loop = float(np.median([e["images"] / e["seconds"] for e in epochs]))
    features = sum(t for key, t in spans(events, "features").items() if key.startswith(f"{name}-"))
    rate = sum(e["images"] for e in epochs) / whole
    return [f"{rate:,.0f}", f"{loop:,.0f}", f"{whole:.1f} s", f"{features:.1f} s"]


def main(seconds: float = 180, data: Path | None = None, sets: tuple[str, ...] = (), device: str = "cuda") -> None:
    """The table, of what was finished in the time there is."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        there = data or draw(Path(folder) / "photographs")
        drawn = time.monotonic() - begun
        asked = ["recipe.size=[128,128]", f"recipe.epochs={EPOCHS}", "recipe.pretrained=false", *sets]
        out, more = Path(folder) / "runs", [part for value in asked for part in ("--set", value)]
        started = time.monotonic()
        ended = build(there, out, seconds - drawn, *more, "--device", device)
        whole, events = time.monotonic() - started, events_of(out)
        table = Table(seconds + 60)
        table.head(
            "build, 128x128, batch 64",
            "images/s, member's whole time",
            "the loop's own",
            "its time",
            "features",
            "took",
        )
        for name in MEMBERS:
            table.row(name, lambda name=name: member_cells(events, name))
        images = spans(events, "images")
        print(
            f"\nfive members, whole command: {whole:.1f} s, {ended} (wanted: 75 s); drawing the pictures {drawn:.1f} s;"
        )
        print(f"decoding {sum(images.values()):.1f} s; {len(events)} events", flush=True)
