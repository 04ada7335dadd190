"""A trained network prepared for inference: batch norms folded into convolutions, weights cast once."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from models.backbones.resnet import IBN, Block, Trunk
from models.device import DTYPES
from models.net import Net


def fold_batch_norms(net: Net, precision: str) -> Net:
    """A faster copy with the same output, for inference only.

    A batch norm with fixed statistics is a scale and a shift per channel: the convolution before it takes both over.
    The instance norm of IBN stays.
    Weights of convolutions are cast to `precision` once, instead of by autocast in every batch.
    Backbones other than resnet keep their norms.
    """
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, Block):
            module.bn1 = _folded(module.conv1, module.bn1)
            module.bn2 = _folded(module.conv2, module.bn2)
            module.bn3 = _folded(module.conv3, module.bn3)
            if module.downsample is not None:
                conv, norm = module.downsample
                module.downsample = nn.Sequential(conv, _folded(conv, norm))
        elif isinstance(module, Trunk):
            module.bn1 = _folded(module.conv1, module.bn1)
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and precision in DTYPES:
            module.to(DTYPES[precision])
    return net


class HalfIBN(nn.Module):
    """IBN without its batch norm: an instance norm of the first channels."""

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.IN = norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        first = self.IN.num_features
        return torch.cat((self.IN(x[:, :first].contiguous()), x[:, first:]), dim=1)


@torch.no_grad()
def _folded(conv: nn.Conv2d, norm: nn.Module) -> nn.Module:
    """Fold a norm into the convolution before it. Returns the module that replaces the norm."""
    if isinstance(norm, nn.BatchNorm2d):
        scale, shift = _scale_and_shift(norm)
        left: nn.Module = nn.Identity()
    elif isinstance(norm, IBN):
        scale, shift = _scale_and_shift(norm.BN)
        scale, shift = pad(scale, (norm.first, 0), value=1.0), pad(shift, (norm.first, 0))
        left = HalfIBN(norm.IN)
    else:
        return norm
    conv.weight.mul_(scale[:, None, None, None])
    conv.bias = nn.Parameter(shift if conv.bias is None else conv.bias * scale + shift)
    return left


def _scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, var = norm.running_mean, norm.running_var
    if mean is None or var is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    scale = norm.weight * torch.rsqrt(var + norm.eps)
    return scale, norm.bias - mean * scale
