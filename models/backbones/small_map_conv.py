"""A convolution whose weight gradient is a matrix product on small maps: faster on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

PLACES = 2048  # pixels of a batch's output maps; on larger maps the copies cost more than the product saves
CHANNELS = 128


class SmallMap(nn.Conv2d):
    """A convolution without bias or groups. Its weight has the name, shape and gradient of `nn.Conv2d`'s.

    In bfloat16 on a CPU, on small maps with many channels, oneDNN's weight gradient takes 3 to 8 times as long as the
    product of the gradient with the patches.
    It took half of the time of all convolutions.
    In all other cases it is the convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        if not torch.is_grad_enabled() or x.device.type != "cpu" or not _bfloat16():
            return super().forward(x)  # before the batch is counted: an exported graph takes any
        if len(x) * (x.shape[2] // self.stride[0]) * (x.shape[3] // self.stride[1]) > PLACES:
            return super().forward(x)
        y: Tensor = _ByProduct.apply(x.bfloat16(), self.weight.bfloat16(), self.stride, self.padding)
        return y


def _bfloat16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


class _ByProduct(torch.autograd.Function):
    """The convolution. Its weight gradient is (C', pixels) @ (pixels, kernel * C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        by_x = None
        if ctx.needs_input_grad[0]:
            how = (ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (True, False, False))
            by_x = torch.ops.aten.convolution_backward(grad, x, weight, None, *how)[0]
        rows = grad.permute(0, 2, 3, 1).reshape(-1, len(weight))
        seen = patches(x, weight.shape[2:], ctx.stride, ctx.padding, grad.shape[2:])
        channels, (height, width) = x.shape[1], weight.shape[2:]
        by_weight = (rows.t() @ seen).view(-1, height, width, channels).permute(0, 3, 1, 2)
        return by_x, by_weight, None, None


def patches(
    x: Tensor, kernel: torch.Size, stride: tuple[int, int], padding: tuple[int, int], size: torch.Size
) -> Tensor:
    """The input patch of each output pixel: (B, C, h, w) -> (B * h' * w', kernel height * kernel width * C)."""
    (down, right), (height, width) = stride, size
    wide = pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    shifted = [
        wide[:, i : i + down * height : down, j : j + right * width : right]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    return torch.cat(shifted, dim=3).view(-1, kernel[0] * kernel[1] * x.shape[1])


def on_small_maps(net: nn.Module) -> None:
    """Replace every 3x3 convolution with many channels by a `SmallMap` with the same weight."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and child.kernel_size == (3, 3) and _fits(child):
                how: Any = {"stride": child.stride, "padding": child.padding, "bias": False}
                small = SmallMap(child.in_channels, child.out_channels, 3, **how)
                small.weight = child.weight
                setattr(module, name, small)


def _fits(conv: nn.Conv2d) -> bool:
    plain = conv.groups == 1 and conv.bias is None and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and conv.in_channels >= CHANNELS and not isinstance(conv.padding, str)
