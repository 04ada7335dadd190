"""The ResNet family with last stride 1: plain, grouped (ResNeXt), IBN-a, IBN-b, squeeze-and-excitation.

The trunk is torchvision's. Blocks that differ are replaced afterwards, under the names of IBN-Net's released weights.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from models.backbones.conv1x1 import as_products
from models.backbones.drop_path import DropPath, rising
from models.backbones.layers import Layers
from models.backbones.small_map_conv import on_small_maps

DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}  # blocks a stage; 26 as timm


class Block(Bottleneck):
    """torchvision's bottleneck, optionally with a gate before and an instance norm after the residual sum."""

    se: SqueezeExcitation | None
    IN: nn.Module | None
    drop: DropPath | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_module("se", None)  # not on the class: a class attribute hides a module of the same name
        self.register_module("IN", None)
        self.register_module("drop", None)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, h, w) -> (B, 4 * planes, h / stride, w / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.se is not None:
            out = self.se(out)
        if self.drop is not None:
            out = self.drop(out)
        out = out + (x if self.downsample is None else self.downsample(x))
        if self.IN is not None:
            out = self.IN(out)
        return self.relu(out)


class IBN(nn.Module):
    """Instance norm on the first half of the channels, batch norm on the rest (Pan et al., ECCV 2018, fig. 3a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = channels // 2
        self.IN = nn.InstanceNorm2d(self.first, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.first)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        first, rest = x[:, : self.first], x[:, self.first :]
        return torch.cat((self.IN(first.contiguous()), self.BN(rest.contiguous())), dim=1)


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation without biases (Hu et al., CVPR 2018, eq. 2-4)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        squeeze = nn.Linear(channels, channels // reduction, bias=False)
        excite = nn.Linear(channels // reduction, channels, bias=False)
        self.fc = nn.Sequential(squeeze, nn.ReLU(inplace=True), excite, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape, each channel scaled by its gate in (0, 1)."""
        return x * self.fc(x.mean(dim=(2, 3)))[:, :, None, None]

    def open(self, level: float = 1.0, strength: float = 5.0) -> None:
        """Start near 1, so that a pretrained trunk gives nearly the same output.

        Without biases a gate is 1/2 wherever its hidden units are 0.
        So the hidden units come in pairs (w, -w), whose sum is |w x|.
        Every output adds all of them with one positive weight.
        The gate is sigmoid(strength * mean |w x| / level), and mean |w x| is 0.8 of the root mean square of x.

        Args:
            level: the expected root mean square of x, the (B, C) spatial means.
            strength: at 5 the gate is 0.98 at that level and 0.88 at half of it, and still trains.
        """
        squeeze, excite = (layer.weight for layer in self.fc if isinstance(layer, nn.Linear))
        pairs = squeeze.shape[0] // 2
        with torch.no_grad():
            nn.init.normal_(squeeze, std=squeeze.shape[1] ** -0.5)
            squeeze[pairs : 2 * pairs] = -squeeze[:pairs]
            nn.init.constant_(excite, strength / (pairs * level))


def open_gates(trunk: nn.Module) -> None:
    """Start every gate of a pretrained trunk near 1.

    The expected level follows from the batch norm before the gate.
    Its output has mean `bias` and standard deviation `weight` over images and pixels.
    A quarter of that deviation is assumed for the spatial mean of one image.
    """
    for block in (m for m in trunk.modules() if isinstance(m, Block)):
        if block.se is not None:
            mean_square = block.bn3.bias.detach().square().mean() + (block.bn3.weight.detach() / 4).square().mean()
            block.se.open(level=max(mean_square.sqrt().item(), 1e-3))


class Trunk(ResNet):
    """torchvision's ResNet without classifier: it returns the last feature map.

    Last stride 1 (Luo et al. 2019, section 3.5): stage 4 does not halve the map.
    """

    stride = 16

    def __init__(self, depth: int, groups: int, width_per_group: int, base: int = 64) -> None:
        self.base = base
        super().__init__(Block, list(DEPTHS[depth]), groups=groups, width_per_group=width_per_group)
        self.channels = 32 * base
        del self.fc
        first = self.layer4[0]
        first.conv2.stride = (1, 1)
        first.downsample[0].stride = (1, 1)
        as_products(self)
        on_small_maps(self)

    def _make_layer(self, block: Any, planes: int, *args: Any, **kwargs: Any) -> nn.Sequential:
        """A stage of torchvision's with scaled planes. The stem keeps its 64 channels."""
        return super()._make_layer(block, planes * self.base // 64, *args, **kwargs)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, channels, H / 16, W / 16)."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self._stem(images)))))

    def _stem(self, images: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(images))))

    def zero_residuals(self) -> None:
        """Start every block as its shortcut only (Goyal et al. 2017, section 5.1)."""
        for block in self.blocks().values():
            if isinstance(block, Block):
                nn.init.zeros_(block.bn3.weight)

    def blocks(self) -> dict[str, nn.Module]:
        """Every bottleneck by its name, such as `layer1.0`, in forward order."""
        stages = {name: getattr(self, name) for name in ("layer1", "layer2", "layer3", "layer4")}
        return {f"{name}.{i}": block for name, stage in stages.items() for i, block in enumerate(stage)}

    def layers(self) -> Layers:
        """The stem is layer 0, stages 1 to 4 follow."""
        tops = {name: name.partition(".")[0] for name, _ in self.named_parameters()}
        return Layers({k: int(top[5:]) if top.startswith("layer") else 0 for k, top in tops.items()}, 5)

    def tail(self, first: str) -> nn.Sequential:
        """Copies of the blocks from `first` to the last, for a separate branch.

        Raises:
            ValueError: unknown block.
        """
        blocks = self.blocks()
        if first not in blocks:
            raise ValueError(f"unknown block {first!r}; the trunk has {', '.join(blocks)}")
        return nn.Sequential(*(copy.deepcopy(b) for b in list(blocks.values())[list(blocks).index(first) :]))

    def tail_names(self, first: str) -> list[str]:
        """The modules that `tail` copies, in its order."""
        blocks = list(self.blocks())
        return blocks[blocks.index(first) :]

    def fork(self, images: Tensor, first: str) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> the input of the block `first`, and the last map (B, channels, H / 16, W / 16)."""
        before = x = self._stem(images)
        for name, block in self.blocks().items():
            before = x if name == first else before
            x = block(x)
        return before, x


def resnet(
    *,
    depth: int = 50,
    groups: int = 1,
    width_per_group: int = 64,
    ibn: Literal["a", "b"] | None = None,
    se: bool = False,
    base: int = 64,
    drop_path: float = 0.0,
) -> Trunk:
    """A ResNet with last stride 1: a 256x128 image gives a map of 2048 x 16 x 8.

    Args:
        depth: 26, 50, 101 or 152.
        groups, width_per_group: of the 3x3 convolutions. 32 and 4 make ResNeXt-50 32x4d (Xie et al., CVPR 2017).
        ibn: Pan et al., ECCV 2018. "a" replaces the first norm of every bottleneck of stages 1-3 by IBN. "b" replaces
            the stem's norm by an instance norm, and adds one after the residual sum of the last block of stages 1
            and 2.
        se: a squeeze-and-excitation gate in every bottleneck, reduction 16.
        base: planes of stage 1. The last map has 32 times as many channels. 16 costs a sixteenth, for measurements.
        drop_path: probability that the last block is skipped in training; less for earlier ones.

    Raises:
        ValueError: unsupported depth, ibn or base.
    """
    if depth not in DEPTHS:
        raise ValueError(f"depth {depth!r}; allowed: {', '.join(map(str, DEPTHS))}")
    if ibn not in (None, "a", "b"):
        raise ValueError(f"ibn {ibn!r}; allowed: a, b or none")
    if base < 8 or base % 8:
        raise ValueError(f"base {base!r}; must be a multiple of 8, such as 64")
    net = Trunk(depth, groups, width_per_group, base)
    stages = [net.layer1, net.layer2, net.layer3, net.layer4]
    if ibn == "a":
        for block in (b for stage in stages[:3] for b in stage):
            block.bn1 = IBN(block.conv1.out_channels)
    if ibn == "b":
        net.bn1 = nn.InstanceNorm2d(64, affine=True)
        for stage in stages[:2]:
            stage[-1].IN = nn.InstanceNorm2d(stage[-1].conv3.out_channels, affine=True)
    if se:
        for block in (b for stage in stages for b in stage):
            block.se = SqueezeExcitation(block.conv3.out_channels)
    blocks = [b for b in net.blocks().values() if isinstance(b, Block)]
    for block, rate in zip(blocks, rising(drop_path, len(blocks)), strict=True):
        block.drop = DropPath(rate) if rate else None
    return net
