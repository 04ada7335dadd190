"""Every submission format written, read back and checked on real pictures: a markdown row a format.

`python -m tests.benchmarks.formats --data DIR [--layout auto]`
Nothing is trained: pictures are ranked by their pixels at 16x8. Pairs to be judged, where a format wants them, are
each query with its nearest and its furthest gallery picture.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from configs.load import load_competition
from ensemble.results.ranking import Ranking
from models.data.layouts import AUTO, read_layout, settle_layout
from models.data.split import Benchmark, Split
from submit.formats import FORMATS
from submit.formats.base import Format, Names
from submit.submission import SubmissionRules, check_file

SIZE = (8, 16)


@dataclass(frozen=True)
class Trip:
    """One format's way out and back. equal: what was read is what was meant. faults: all that the checker says."""

    name: str
    size: int
    lists: int
    equal: bool
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float


def pixels(split: Split) -> np.ndarray:
    """(N, 384) float64: small pictures, each of mean 0 and length 1."""
    rows = []
    for path in split.paths:
        with Image.open(path) as image:
            rows.append(np.asarray(image.convert("RGB").resize(SIZE), np.float64).ravel())
    feats = np.stack(rows)
    feats -= feats.mean(axis=1, keepdims=True)
    return feats / np.maximum(np.linalg.norm(feats, axis=1, keepdims=True), 1e-12)


def rank(benchmark: Benchmark) -> Ranking:
    """Every query's whole gallery by the distance of pixels."""
    dist = (1 - pixels(benchmark.query) @ pixels(benchmark.gallery).T).astype(np.float32).clip(0)
    order = np.argsort(dist, axis=1, kind="stable").astype(np.int32)
    nearest = np.take_along_axis(dist, order, axis=1)
    return Ranking(benchmark.query.names, benchmark.gallery.names, order, nearest, "pixels")


def pairs_of(ranking: Ranking) -> tuple[tuple[str, str, str], ...]:
    """Each query with its nearest and its furthest picture."""
    ends = (
        (q, ranking.gallery_names[row[i]])
        for q, row in zip(ranking.query_names, ranking.order, strict=True)
        for i in (0, -1)
    )
    return tuple((str(n), q, g) for n, (q, g) in enumerate(ends))


def travel(name: str, benchmark: Benchmark, ranking: Ranking, folder: Path) -> Trip:
    """Write a file as a build does, then read and check it as anybody's."""
    begun = time.perf_counter()
    competition, form = load_competition("own"), FORMATS[name]
    names = Names(ranking.query_names, ranking.gallery_names, pairs_of(ranking))
    tokens = form.tokens(names)
    desk = SubmissionRules(competition, benchmark, form, tokens, tokens)
    kept = cut(ranking, form, desk.length)
    meant = form.arrange(kept, names, desk.tokens)
    path = folder / f"{name}-{form.file}"
    path.write_bytes(form.write(meant))
    handed = check_file(path, desk)
    back = handed.sheet.answers
    equal = list(back.queries) == list(meant.queries) and [*map(list, back.lists)] == [*map(list, meant.lists)]
    if back.dists is not None and meant.dists is not None:
        equal = equal and np.allclose(np.asarray(back.dists), np.asarray(meant.dists), rtol=1e-6, atol=2e-8)
    said = tuple(map(str, handed.faults))
    return Trip(name, path.stat().st_size, len(back.queries), equal, said, handed.notes, time.perf_counter() - begun)


def cut(ranking: Ranking, form: Format, length: int) -> Ranking:
    """Lists of the length that is handed in; whole ones where single pairs are asked for."""
    keep = length if form.scored else len(ranking.gallery_names)
    return Ranking(
        ranking.query_names, ranking.gallery_names, ranking.order[:, :keep], ranking.dist[:, :keep], ranking.signature
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", default=AUTO)
    args = parser.parse_args()
    layout, _ = settle_layout(args.layout, args.data)
    benchmark = read_layout(layout, args.data, (), wanted=("query", "gallery"))
    ranking = rank(benchmark)
    print(f"{args.data.name}: {len(benchmark.query):,} queries x {len(benchmark.gallery):,}\n")
    print("| format | bytes | lists | read back equal | faults | seconds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            trip = travel(name, benchmark, ranking, Path(folder))
            equal = "yes" if trip.equal else "NO"
            print(f"| {name} | {trip.size:,} | {trip.lists:,} | {equal} | {len(trip.faults)} | {trip.seconds:.2f} |")


if __name__ == "__main__":
    main()
