"""Measure the time of a training step on random images, to estimate the cost of a build."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import torch

from configs.recipe import ALL
from configs.schema import Member, Recipe
from models import registry
from models.data.batches import TrainingBatches
from models.data.pk_sampler import Sampling
from models.device import computing
from models.distributed.process_group import ALONE
from models.training.setup import set_up
from models.training.step import Step
from models.training.tally import Tally

WARM_UP = 1  # steps before timing: the first one selects algorithms and allocates memory


def seconds_per_image(
    member: Member, recipe: Recipe, classes: int, *, device: str, precision: str, most: int, seconds: float = 0.0
) -> float | None:
    """Seconds per image of a training step: augmentation if on the host, forward, losses, backward, optimizer.

    With `freeze: all`, the whole network is timed as if it were trained.

    Args:
        device: cpu or cuda. precision: as `choose_precision` returns it.
        most: maximum number of images per step; at most the recipe's batch.
        seconds: minimum total time of the timed steps. At least one step is timed; the result is the median.

    Returns:
        None if the device has too little memory for the step.
    """
    if recipe.freeze == ALL:
        recipe = recipe.model_copy(update={"freeze": None})
    kept = recipe.images_per_identity
    batch = min(recipe.identities_per_batch, max(2, most // kept)) * kept
    images = np.random.default_rng(0).integers(0, 256, (batch, *recipe.size, 3), dtype=np.uint8)
    labels = np.arange(batch) // kept
    where = torch.device(device)
    took: list[float] = []
    try:
        with torch.random.fork_rng(), computing(where):
            torch.manual_seed(0)
            net = registry.make_net(member, max(classes, batch // kept), recipe.classifier).train()
            net.resize(recipe.size)
            counts = [kept] * max(classes, batch // kept)
            run = set_up(net, recipe, len(counts), images, where, precision, ALONE, counts)
            step = Step(run, Tally(tuple(run.losses), batch, net, where), run.forward())
            augments = run.augments if recipe.feed_on(device) == "loader" else []
            batches = TrainingBatches(images, Sampling(labels, batch // kept, kept, recipe.seed), augments)
            header = torch.zeros(3, dtype=torch.float64, device=where)  # time 0, rate 0
            while len(took) <= WARM_UP or sum(took[WARM_UP:]) < seconds:
                _wait(where)
                begun = time.perf_counter()
                raw, whose = batches[len(took), 0]
                step(raw.to(where), whose.to(where), header)
                _wait(where)
                took.append(time.perf_counter() - begun)
            return median(took[WARM_UP:]) / batch
    except torch.OutOfMemoryError:
        return None


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
