"""What every process of a team but the first does: train and extract with it, as it is told, until it is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from configs.console.progress import Progress
from configs.errors import TrainingError
from configs.schema import ComponentConfig, Ensemble, Member, Recipe
from models.data.balance import Training
from models.data.split import Split
from models.device import choose_device
from models.distributed.process_group import ProcessGroup
from models.extraction.views import make_views


def training_order(
    member: Member,
    recipe: Recipe,
    training: Training,
    images: NDArray[np.uint8],
    folder: Path,
    pretrained: Path | None,
    frozen: Path | None,
    precision: str,
) -> dict[str, Any]:
    """The words that make the others call `train_member`."""
    return {
        "do": "train",
        "precision": precision,
        "member": member.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "names": training.split.names,
        "labels": training.labels.tolist(),
        "pids": training.pids,
        "doubled": training.doubled,
        "images": _file(images),
        "folder": str(folder.absolute()),
        "pretrained": str(pretrained.absolute()) if pretrained else None,
        "frozen": str(frozen.absolute()) if frozen else None,
    }


def extraction_order(
    member: Member,
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    ensemble: Ensemble,
    channels_last: bool,
    precision: str,
) -> dict[str, Any]:
    """The words that make the others call `extract`."""
    return {
        "do": "extract",
        "precision": precision,
        "member": member.model_dump(mode="json"),
        "folder": str(folder.absolute()),
        "images": [_file(decoded) for decoded in images],
        "names": list(names),
        "flip": ensemble.flip,
        "views": [view.model_dump(mode="json") for view in ensemble.views],
        "channels_last": channels_last,
    }


def _file(images: NDArray[np.uint8]) -> str:
    """Where a memory map lies: another process, perhaps on another machine, opens the same."""
    if not isinstance(images, np.memmap):
        raise TypeError(f"images are a {type(images).__name__}; wanted a memory map, whose file others can open")
    return str(Path(images.filename).absolute())  # type: ignore[arg-type]


def run_follower(team: ProcessGroup, asked: str, workers: int) -> None:
    """Do as told until told None.

    Args:
        asked: auto, cpu or cuda. workers: loader processes.
    """
    device, _ = choose_device(asked)
    while (order := team.receive()) is not None:
        with suppress(TrainingError):  # all processes meet it at once; the one that leads says it and what comes next
            {"train": _train, "extract": _extract}[order["do"]](order, team, device, workers)


def _train(order: dict[str, Any], team: ProcessGroup, device: torch.device, workers: int) -> None:
    from models.training.train import train_member  # imports torchvision: a second that a first process may not need

    names, labels = tuple(order["names"]), np.array(order["labels"], np.int64)
    pids = tuple(order["pids"])
    split = Split(names, tuple(map(Path, names)), np.array(pids)[labels], np.full(len(names), -1))
    train_member(
        Member.model_validate(order["member"]),
        Recipe.model_validate(order["recipe"]),
        Training(split, labels, pids, tuple(order["doubled"])),
        np.load(order["images"], mmap_mode="r"),
        Path(order["folder"]),
        device=device,
        precision=order["precision"],
        workers=workers,
        progress=Progress(quiet=True),
        pretrained=Path(order["pretrained"]) if order["pretrained"] else None,
        frozen=Path(order["frozen"]) if order["frozen"] else None,
        team=team,
    )


def _extract(order: dict[str, Any], team: ProcessGroup, device: torch.device, workers: int) -> None:
    from models.extraction.extract import extract, load_member  # imports torchvision

    images, *others = (np.load(file, mmap_mode="r") for file in order["images"])
    height, width = images.shape[1:3]
    extract(
        load_member(Member.model_validate(order["member"]), Path(order["folder"]), (height, width)),
        images,
        tuple(order["names"]),
        views=make_views([ComponentConfig.model_validate(view) for view in order["views"]], order["flip"]),
        others=others,
        channels_last=order["channels_last"],
        device=device,
        precision=order["precision"],
        progress=Progress(quiet=True),
        team=team,
    )
