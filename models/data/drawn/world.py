"""Writing a drawn data set: a Market-1501 folder, written atomically."""

import csv
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from joblib import Parallel, cpu_count, delayed

from configs.errors import DataError
from models.data.drawn.backdrop import Pixels, make_plate
from models.data.drawn.camera import Camera, cameras, levels
from models.data.drawn.picture import take_picture
from models.data.drawn.plan import GALLERY, MAX_IDS, MIN_IDS, NAMELESS, QUERY, TRAIN, Entry, plan_entries

VERSION = 1
"""Increased when the same request gives different pixels."""
MANIFEST, TRUTH = "drawn.json", "unlabelled_ids.csv"
FOLDERS = (TRAIN, QUERY, GALLERY, NAMELESS)


class DrawnFolderError(DataError):
    """The request is out of bounds, or the folder cannot be used. The message says what to do."""


def draw_people(
    out: Path,
    *,
    ids: int = 80,
    seed: int = 0,
    size: tuple[int, int] = (128, 64),
    level: str = "normal",
    n_jobs: int = -1,
) -> Path:
    """Draw people into a new Market-1501 folder. A folder of the same request is reused.

    Args:
        out: the folder. A temporary one next to it is written first, then renamed.
        ids: people with several images, half for training and half for test.
        seed: the same seed gives the same bytes for any number of workers.
        size: (height, width) of the images in pixels.
        level: "easy", "normal" or "hard".
        n_jobs: worker processes, -1 for one per core.

    Returns:
        out.

    Raises:
        DrawnFolderError: a value is out of bounds, or `out` exists with other content.
    """
    out = Path(out)
    _check_request(ids, seed, size, level)
    entries = plan_entries(ids, seed)
    asked: dict[str, object] = {"version": VERSION, "ids": ids, "seed": seed, "height": size[0], "width": size[1]}
    asked |= {"level": level, "images": len(entries)}
    if _is_kept(out, asked):
        return out
    draft = out.with_name(f".{out.name}.drawing")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(out.with_name(f".{out.name}.lock")):
            if _is_kept(out, asked):
                return out
            shutil.rmtree(draft, ignore_errors=True)
            _write(draft, entries, seed, size, level, n_jobs)
            (draft / MANIFEST).write_text(json.dumps(asked, indent=2) + "\n")
            os.replace(draft, out)
    except OSError as error:
        raise DrawnFolderError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def _check_request(ids: int, seed: int, size: tuple[int, int], level: str) -> None:
    if not MIN_IDS <= ids <= MAX_IDS:
        raise DrawnFolderError(f"{ids} people; must be {MIN_IDS} to {MAX_IDS:,}")
    if seed < 0:
        raise DrawnFolderError(f"seed {seed} is negative; must be 0 or more")
    if min(size) < 16 or max(size) > 512:
        raise DrawnFolderError(f"size {size[0]}x{size[1]} (height x width) is out of bounds; each must be 16 to 512")
    if level not in levels():
        raise DrawnFolderError(f"unknown level {level!r}; there are: {', '.join(levels())}")


def _is_kept(out: Path, asked: dict[str, object]) -> bool:
    """Whether `out` already holds this request. An empty folder counts as missing."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / MANIFEST).read_text())
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise DrawnFolderError(f"{out} exists and is not a drawn data set; choose another folder or remove it")
    differing = [f"{key} {found.get(key)!r}, not {value!r}" for key, value in asked.items() if found.get(key) != value]
    if differing:
        raise DrawnFolderError(
            f"{out} holds drawn people of another request ({'; '.join(differing)}); choose another folder or remove it"
        )
    present = sum(1 for folder in FOLDERS for _ in (out / folder).glob("*.jpg"))
    if present != asked["images"]:
        raise DrawnFolderError(f"{out} holds {present:,} of its {asked['images']:,} images; remove it to draw it again")
    return True


def _write(draft: Path, entries: list[Entry], seed: int, size: tuple[int, int], level: str, n_jobs: int) -> None:
    for folder in FOLDERS:
        (draft / folder).mkdir(parents=True)
    workers = min(cpu_count() if n_jobs < 0 else max(1, n_jobs), max(1, len(entries) // 50))
    shares = [entries[start::workers] for start in range(workers)]
    there = draft.absolute()  # workers of an earlier call have its working directory
    Parallel(n_jobs=workers)(delayed(draw_entries)(there, share, seed, size, level) for share in shares)
    with (draft / TRUTH).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "pid"))
        rows.writerows((entry.name, entry.pid) for entry in entries if entry.folder == NAMELESS)


def draw_entries(draft: Path, entries: Sequence[Entry], seed: int, size: tuple[int, int], level: str) -> None:
    """Draw a worker's files into existing folders."""
    plates = make_plates(seed, size, level)
    for entry in entries:
        camera, plate = plates[entry.shot.camera - 1]
        file = take_picture(entry.shot, seed, size, camera, plate, levels()[level])
        (draft / entry.folder / entry.name).write_bytes(file)


def make_plates(seed: int, size: tuple[int, int], level: str) -> list[tuple[Camera, Pixels]]:
    """Each camera and its backdrop for pictures of (height, width) pixels."""
    of_level = levels()[level]
    height = 2 * size[0]
    width = 2 * size[1]
    return [
        (camera, make_plate(camera, of_level, np.random.default_rng([seed, 8, number]), height, width))
        for number, camera in enumerate(cameras())
    ]
