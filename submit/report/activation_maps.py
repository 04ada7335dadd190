"""Activation maps of each member for a few queries, drawn over the grey pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray

from configs.console.progress import Progress
from configs.errors import ReidError
from configs.schema import Member
from configs.store.code_version import code_version
from configs.store.store import Address
from models.data.images import decode
from models.data.sheets.thumbnails import write_picture
from submit.report.member_training import Trained
from submit.report.query_results import QueryResults
from submit.report.report_input import ReportedEvaluation, ReportInput

HERE = Path(__file__).parent
MODELS = HERE.parent.parent / "models"


@dataclass(frozen=True)
class ActivationExample:
    """One query's picture and its activation map by each member, as files of the report."""

    query: int
    picture: str
    members: tuple[tuple[str, str], ...]


def choose_queries(trial: ReportedEvaluation, found: QueryResults, count: int) -> list[int]:
    """Queries to show: the hardest, those with most disagreement, and the easiest; without labels, the first ones."""
    n = len(trial.query)
    if not trial.labelled:
        return sorted({int(i) for i in np.linspace(0, n - 1, min(count, n))})
    ap = np.nan_to_num(np.asarray(found.ap[trial.after], np.float64), nan=0.5)
    orders = [
        np.argsort(ap, kind="stable"),
        np.argsort(found.agreement(), kind="stable"),
        np.argsort(-ap, kind="stable"),
    ]
    chosen: list[int] = []
    for place in range(n):
        for order in orders:
            if int(order[place]) not in chosen and len(chosen) < min(count, n):
                chosen.append(int(order[place]))
    return sorted(chosen, key=lambda i: (ap[i], i))


def write_examples(
    folder: Path,
    subject: ReportInput,
    trial: ReportedEvaluation,
    queries: Sequence[int],
    trained: Sequence[Trained],
    progress: Progress,
) -> list[ActivationExample]:
    """Write the maps; none without pictures or without weights in this store."""
    able = [t for t in trained if t.folder]
    known = [trial.query.paths[q] for q in queries]
    paths = [path for path in known if path is not None]
    if not able or not queries or len(paths) < len(known):
        return []
    members = {m.name: m for m in subject.plan.members}
    try:
        shown = [decode(path, subject.plan.recipe.size) for path in paths]
    except ReidError:
        return []
    (folder / "seen").mkdir(exist_ok=True)
    files: dict[int, list[tuple[str, str]]] = {q: [] for q in queries}
    for place, q in enumerate(queries):
        write_picture(shown[place], folder / "seen" / f"{trial.name}-{q}.webp")
    with progress.task(f"{trial.name}: what members look at", len(able)) as step:
        for t in able:
            size = subject.plan.recipe_of(members[t.member]).size
            for q, path, strength in zip(
                queries, paths, _maps(subject, trial, t, members[t.member], queries, paths), strict=True
            ):
                image = decode(path, size)
                name = f"seen/{trial.name}-{q}-{t.member}.webp"
                write_picture(overlaid(image, strength), folder / name)
                files[q].append((t.member, name))
            step(1)
    return [ActivationExample(q, f"seen/{trial.name}-{q}.webp", tuple(files[q])) for q in queries]


def overlaid(image: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) the picture in grey, coloured by activation."""
    grey = (image @ np.array([0.299, 0.587, 0.114]))[..., None].repeat(3, axis=2)
    colour = 255 * np.asarray(matplotlib.colormaps["inferno"](strength))[..., :3]
    share = (0.25 + 0.55 * strength)[..., None]
    return np.clip((1 - share) * grey + share * colour, 0, 255).astype(np.uint8)


def _maps(
    subject: ReportInput,
    trial: ReportedEvaluation,
    trained: Trained,
    member: Member,
    queries: Sequence[int],
    paths: Sequence[Path],
) -> NDArray[np.float32]:
    """(n, H, W) activations of one member, cached, since loading the network is the most expensive step."""
    request = {
        "weights": trained.folder,
        "features": trained.features,
        "trial": trial.name,
        "queries": [int(q) for q in queries],
        "code": code_version(MODELS / "activation_map.py"),
    }

    def make(folder: Path) -> None:
        from models.activation_map import activations  # torch: four seconds, not needed if cached
        from models.extraction.extract import load_member
        from models.registry import resampling

        size = subject.plan.recipe_of(member).size
        images = np.stack([decode(path, size, resampling(member)) for path in paths])
        net = load_member(member, subject.store.open(trained.folder or ""), size)
        np.save(folder / "maps.npy", activations(net, images), allow_pickle=False)

    kept = subject.store.get(Address("looks", trained.member, request), make)
    maps: NDArray[np.float32] = np.load(kept.path / "maps.npy")
    return maps
