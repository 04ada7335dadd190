"""A folded network whose convolutions add bias, shortcut and ReLU in one cuDNN call.

It reads and writes each map once instead of three times, which limits inference at large batches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from models.backbones.resnet import Block, Trunk
from models.net import Net

cudnn_conv_relu = torch.ops.aten.cudnn_convolution_relu
cudnn_conv_add_relu = torch.ops.aten.cudnn_convolution_add_relu


def fuse(net: Net) -> Net:
    """Replace the blocks of a folded network by fused ones, in place. Backbones other than resnet do not change.

    In the stem, max pooling comes before ReLU: the values are the same, and ReLU has a quarter of the work.
    The stem's 7x7 convolution is not fused: cuDNN has been slow for it (pytorch issue 68506).
    """
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Block):
                setattr(module, name, FusedBlock(child))
        if isinstance(module, Trunk) and isinstance(module.bn1, nn.Identity):
            module.maxpool = nn.Sequential(module.maxpool, module.relu)
            module.relu = nn.Identity()
    return net


class FusedBlock(nn.Module):
    """A folded bottleneck. Instance norms and gates stay between the convolutions."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = block.conv1
        self.conv2 = block.conv2
        self.conv3 = block.conv3
        self.bn1 = block.bn1
        self.se = block.se
        self.IN = block.IN
        self.shortcut = None if block.downsample is None else block.downsample[0]
        self.plain = block.se is None and block.IN is None
        if self.plain and self.shortcut is not None and self.shortcut.bias is not None:
            with torch.no_grad():  # two biases of one sum
                self.conv3.bias.add_(self.shortcut.bias)
            self.shortcut.bias = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, 4 * planes, h / stride, w / stride)."""
        x = x.to(self.conv1.weight.dtype)
        first = isinstance(self.bn1, nn.Identity)
        out = conv_relu(x, self.conv1) if first else relu(self.bn1(self.conv1(x)))
        out = conv_relu(out.to(x.dtype), self.conv2)
        short = x if self.shortcut is None else self.shortcut(x)
        if self.plain:
            return conv_add_relu(out, self.conv3, short)
        out = self.conv3(out)
        if self.se is not None:
            out = self.se(out)
        out = out + short
        return relu(out if self.IN is None else self.IN(out))


def conv_relu(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """relu(conv(x)), in one pass on a GPU if the convolution has no groups."""
    if not on_gpu(x) or conv.groups > 1:
        return relu(conv(x))
    return cudnn_conv_relu(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def conv_add_relu(x: Tensor, conv: nn.Conv2d, shortcut: Tensor) -> Tensor:
    """relu(conv(x) + shortcut), in one pass on a GPU if the convolution has no groups."""
    if not on_gpu(x) or conv.groups > 1:
        return relu(conv(x) + shortcut)
    return cudnn_conv_add_relu(
        x, conv.weight, shortcut, 1.0, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )


def on_gpu(x: Tensor) -> bool:
    """Whether the tensor is on a GPU."""
    return x.is_cuda
