"""Activation maps: bright where the network responds, by a network whose response is known."""

import numpy as np
import pytest
import torch
from torch import nn

from models.activation_map import activations
from models.data.batches import IMAGENET


class Dark(nn.Module):
    """A backbone that answers how dark each 8 x 8 field is, in two channels of opposite sign."""

    def forward(self, images):
        mean = nn.functional.avg_pool2d(-images.mean(dim=1, keepdim=True), 8)
        return torch.cat([mean - mean.amin() + 1, -(mean - mean.amin() + 1)], dim=1)


def net():
    made = nn.Module()
    made.backbone, made.scale = Dark(), IMAGENET
    return made


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 1), (1, 0)])
def test_the_brightest_place_is_where_the_channels_respond(row, column):
    images = np.full((1, 32, 16, 3), 255, np.uint8)
    images[0, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
    found = activations(net(), images)
    assert found.shape == (1, 32, 16) and found.min() >= 0 and found.max() <= 1
    means = found.reshape(4, 8, 2, 8).mean(axis=(1, 3))
    assert np.unravel_index(means.argmax(), means.shape) == (row, column)


def test_a_mirrored_picture_has_the_mirrored_map():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 16, 3)).astype(np.uint8)
    assert activations(net(), images[:, :, ::-1]) == pytest.approx(activations(net(), images)[:, :, ::-1], abs=1e-6)
