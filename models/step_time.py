"""How long a training step takes here, measured on random images: for the cost of a build before any training."""

from __future__ import annotations

import time

import numpy as np
import torch

from configs.schema import Member, Recipe
from models import registry
from models.device import computing
from models.distributed.process_group import ALONE
from models.training.setup import set_up
from models.training.step import Step
from models.training.tally import Tally

WARM_UP = 1  # steps that are not timed: the first one chooses algorithms and takes memory


def seconds_per_image(
    member: Member, recipe: Recipe, classes: int, *, device: str, precision: str, most: int
) -> float | None:
    """Seconds an image of one training step: forward, losses, backward, optimizer; no augmentation.

    Args:
        device: cpu or cuda. precision: settled, as `choose_precision` gives it.
        most: images of the step; the recipe's batch where that is smaller.

    Returns:
        None where the device has too little memory for the step.
    """
    kept = recipe.images_per_identity
    batch = min(recipe.identities_per_batch, max(2, most // kept)) * kept
    images = np.random.default_rng(0).integers(0, 256, (batch, *recipe.size, 3), dtype=np.uint8)
    labels = torch.arange(batch) // kept
    where = torch.device(device)
    try:
        with torch.random.fork_rng(), computing(where):
            torch.manual_seed(0)
            net = registry.make_net(member, max(classes, batch // kept)).train()
            net.resize(recipe.size)
            run = set_up(net, recipe, max(classes, batch // kept), images, where, precision, ALONE)
            step = Step(run, Tally(tuple(run.losses), batch, net, where), run.forward)
            raw = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(where)
            labels = labels.to(where)
            header = torch.zeros(3, dtype=torch.float64, device=where)  # time 0, rate 0
            for _ in range(WARM_UP):
                step(raw, labels, header)
            _wait(where)
            begun = time.perf_counter()
            step(raw, labels, header)
            _wait(where)
            return (time.perf_counter() - begun) / batch
    except torch.OutOfMemoryError:
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
