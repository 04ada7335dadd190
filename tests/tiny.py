"""What the tests of training share: a recipe of seconds, a network of 3,000 weights, and pictures of noise."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from configs.schema import Member, Recipe
from models.data.balance import Training
from models.data.batches import Order, TrainingBatches, make_loader
from models.data.pk_sampler import Sampling
from models.data.split import Split

RECIPE = {
    "size": [64, 32],
    "epochs": 2,
    "seed": 3,
    "identities_per_batch": 4,
    "images_per_identity": 2,
    "min_images": 2,
    "pretrained": False,
    "optimizer": {"name": "adam", "lr": 1e-3},
    "schedule": {"name": "steps"},
    "losses": {"id": {"weight": 0.1}, "triplet": {"weight": 0.9}},
    "augment": [{"name": "flip"}, {"name": "pad_crop", "pad": 4}, {"name": "erase"}],
    "precision": "float32",
    "channels_last": True,
    "checkpoint_every": 1,
}


class TinyBackbone(nn.Sequential):
    """Two convolutions with batch norm; 64x32 gives 16 x 16 x 8."""

    channels = 16

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )


def recipe(**changes):
    """The recipe above with other values."""
    return Recipe.model_validate(RECIPE | changes)


def member(**changes):
    """A member on the tiny backbone, which a test must have put in the registry."""
    return Member.model_validate({"name": "tiny", "backbone": "tiny"} | changes)


def training(identities=6, each=3, size=(64, 32), seed=0):
    """Identities 10, 20, ... of noise pictures, each around a colour of its own: (Training, (N, H, W, 3) uint8)."""
    rng = np.random.default_rng(seed)
    n = identities * each
    labels = np.repeat(np.arange(identities), each)
    colours = rng.integers(40, 216, (identities, 1, 1, 3))
    images = np.clip(colours[labels] + rng.integers(-40, 40, (n, *size, 3)), 0, 255).astype(np.uint8)
    names = tuple(f"{i:04d}.png" for i in range(n))
    pids = tuple(10 * (i + 1) for i in range(identities))
    split = Split(names, tuple(Path("/nowhere") / x for x in names), np.array(pids)[labels], np.full(n, -1))
    return Training(split, labels, pids), images


def unsettle(net):
    """Norms that are no longer the identity: weights, biases and running statistics of a trained network's size."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d | nn.InstanceNorm2d):
                m.weight.uniform_(0.2, 0.8, generator=rng)
                m.bias.normal_(0, 0.2, generator=rng)
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.normal_(0, 0.2, generator=rng)
                m.running_var.uniform_(0.5, 1.5, generator=rng)
    return net


def epoch_loader(
    images, labels, augment, *, identities, per_identity, seed, epoch, doubled=(), share=slice(None), workers=0
):
    """A loader of one epoch, as training's own; `rows` are those of its batches."""
    batches = TrainingBatches(images, Sampling(labels, identities, per_identity, seed, doubled), augment, share)
    rows = batches.rows(epoch)
    loader = make_loader(batches, Order(epoch, 0, len(rows)), workers=workers)
    loader.rows = rows
    return loader
