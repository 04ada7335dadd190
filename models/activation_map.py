"""Activation maps: the mean absolute activation of a member's last feature map.

Zagoruyko and Komodakis, ICLR 2017, section 3.1: F_sum of absolute values.
No gradient and no label are needed.
A bright pixel is one where many channels respond, with either sign.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from models.data.batches import normalise
from models.net import Net


def activations(net: Net, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps of the images' own size, each scaled to 0..1.

    The map of the mirrored image, mirrored back, is averaged in, as for features.
    Without it one edge is bright in every image, since strided convolutions see the padding of one edge only.

    Args:
        net: a trained member. images: (n, H, W, 3) uint8, of the size it was trained on.

    Returns:
        (n, H, W) float32.
    """
    raw = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        seen = normalise(raw, torch.device("cpu"), channels_last=False, scale=net.scale)
        there, mirrored = (net.eval().backbone(x).float().abs().mean(dim=1, keepdim=True) for x in (seen, seen.flip(3)))
        strength = there + mirrored.flip(3)
        low, high = strength.amin(dim=(2, 3), keepdim=True), strength.amax(dim=(2, 3), keepdim=True)
        scaled = (strength - low) / (high - low).clamp_min(1e-12)
        whole = interpolate(scaled, images.shape[1:3], mode="bicubic", align_corners=False).clamp(0, 1)
    result: NDArray[np.float32] = whole[:, 0].numpy()
    return result
