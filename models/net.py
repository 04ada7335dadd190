"""The network of one member: a backbone and a head, and their output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.backbones.drop_path import DropPath
from models.data.batches import IMAGENET, Scale

CLASS = "class token"  # a possible value of a head's `fork`


@dataclass(frozen=True)
class Output:
    """The output of a head for a batch of B images.

    feats: (B, D) before the neck, for the triplet loss: the concatenated global features of `n_branches` branches, all
    of one width. bn_feats: (B, E) after the neck, for retrieval: all parts concatenated; with one part D = E.
    logits: one (B, K) per classified part; empty outside training.
    """

    feats: Tensor
    bn_feats: Tensor
    logits: tuple[Tensor, ...]
    n_branches: int = 1

    @property
    def branches(self) -> tuple[Tensor, ...]:
        """The global feature of each branch, (B, D / n_branches)."""
        return self.feats.chunk(self.n_branches, dim=1)


class Net(nn.Module):
    """Images (B, 3, H, W) to an Output with `feats` (B, dim).

    A head with `fork` None receives the backbone's last map. Other heads also receive what `fork` names: the class
    token, or the input of a block, from which the head runs its own blocks. `scale` is the mean and the standard
    deviation to normalise images with. `still` names frozen modules.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.dim: int = head.dim  # type: ignore[assignment]
        self.fork: str | None = head.fork  # type: ignore[assignment]
        self.scale: Scale = getattr(backbone, "scale", IMAGENET)
        self.still: tuple[str, ...] = ()
        self.paths = [m for m in self.modules() if isinstance(m, DropPath)]

    def forward(self, images: Tensor) -> Output:
        """(B, 3, H, W) float32, normalised, to the head's Output."""
        return self.output(*self.features(images))

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The head's inputs: the backbone's last map, and zero to two tensors named by `fork`."""
        if self.fork is None:
            return (self.backbone(images),)
        before, last = self.backbone.fork(images, self.fork)  # type: ignore[operator]
        return (last, *before) if isinstance(before, tuple) else (last, before)

    def output(self, last: Tensor, *before: Tensor) -> Output:
        """The head's output for `features`."""
        given = (before,) if len(before) > 1 else before
        output: Output = self.head(last, *given)
        return output

    def train(self, mode: bool = True) -> Net:
        """As in torch, but the modules in `still` remain in evaluation mode. Batch norms use running statistics."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).eval()
        return self

    def draw_paths(self, numbers: Tensor) -> None:
        """(B, P) uniform numbers for the P drop paths of the next step."""
        for path, column in zip(self.paths, numbers.unbind(1), strict=True):
            path.draw(column)

    def resize(self, size: tuple[int, int]) -> None:
        """Adapt the backbone to images of this height and width, if it needs that. Call it after loading weights.

        Raises:
            ValueError: the backbone does not support the size.
        """
        if hasattr(self.backbone, "resize"):
            self.backbone.resize(size)  # type: ignore[operator]

    def copy_backbone_weights(self) -> None:
        """Copy the backbone's weights into the head's copies of its blocks. Call it after loading weights."""
        if hasattr(self.head, "load_trunk_weights"):
            self.head.load_trunk_weights(self.backbone)  # type: ignore[operator]


def at_least_float32(values: Tensor) -> Tensor:
    """float16 and bfloat16 (from autocast) as float32. float64 is unchanged, for gradient checks."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
