"""A trained member of the store, by its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ResultError
from configs.schema import Member
from configs.store.store import MANIFEST
from models.extraction.extract import load_member
from models.net import Net
from models.registry import resampling


@dataclass(frozen=True)
class TrainedMember:
    """What a member is, and how its images are decoded: their height and width, and how they are resized."""

    member: Member
    size: tuple[int, int]
    resampled: str


def open_member(folder: Path) -> tuple[Net, TrainedMember]:
    """The network of a trained member, and what it is.

    Raises:
        ResultError: no trained member is there.
    """
    try:
        request = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["request"]
        member, (height, width) = request["member"] | {"weights": None}, request["recipe"]["size"]
    except (OSError, ValueError, KeyError) as e:
        raise ResultError(f"{folder}: no trained member is there; ensemble.build leaves them in runs/members") from e
    trained = Member.model_validate(member)
    size = (height, width)
    return load_member(trained, folder, size), TrainedMember(trained, size, resampling(trained))


def find_member(runs: Path, name: str) -> Path:
    """The folder of the one trained member of this name.

    Raises:
        ResultError: there is none, or several were trained.
    """
    there = sorted((runs / "members").glob("[!.]*-*"))
    found = [path for path in there if path.name.rpartition("-")[0] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ResultError(f"{len(found)} members {name!r} are there; name one: {', '.join(map(str, found))}")
    names = ", ".join(sorted({path.name.rpartition("-")[0] for path in there})) or "none"
    raise ResultError(f"{runs}: no trained member {name!r}; trained are: {names}")
