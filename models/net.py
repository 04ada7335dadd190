"""One member as a network: a backbone, a head, and what they give."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.backbones.drop_path import DropPath
from models.data.batches import IMAGENET, Scale

CLASS = "class token"  # as a head's `fork`


@dataclass(frozen=True)
class Output:
    """What a head gives for a batch of B images.

    feats: (B, D) before the neck, for the triplet loss: the global features of `n_branches` branches side by side, all
    of one width. bn_feats: (B, E) after it, for retrieval: every part side by side; with one part D = E.
    logits: one (B, K) for each part that is classified; empty outside training.
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
    """Images (B, 3, H, W) to an Output, whose `feats` are (B, dim).

    A head whose `fork` is None is given the backbone's last map; another is given also what `fork` names: what goes
    into a block, from which the head runs blocks of its own, or the class token. `scale` is the mean and the deviation
    that the images are to be normalised with. `still` names modules that are frozen.
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
        """What the head is given: the backbone's last map, and what `fork` names: nothing, one tensor or two."""
        if self.fork is None:
            return (self.backbone(images),)
        before, last = self.backbone.fork(images, self.fork)  # type: ignore[operator]
        return (last, *before) if isinstance(before, tuple) else (last, before)

    def output(self, last: Tensor, *before: Tensor) -> Output:
        """What the head makes of `features`."""
        given = (before,) if len(before) > 1 else before
        output: Output = self.head(last, *given)
        return output

    def train(self, mode: bool = True) -> Net:
        """As torch's, but for the modules in `still`: they stay as in use, norms by the statistics that they have."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).eval()
        return self

    def draw_paths(self, numbers: Tensor) -> None:
        """(B, P) uniform numbers for the P drop paths of the next step."""
        for path, column in zip(self.paths, numbers.unbind(1), strict=True):
            path.draw(column)

    def resize(self, size: tuple[int, int]) -> None:
        """Once the backbone has its weights: lay it out for images of this height and width, where it asks for that.

        Raises:
            ValueError: it cannot take them.
        """
        if hasattr(self.backbone, "resize"):
            self.backbone.resize(size)  # type: ignore[operator]

    def copy_backbone_weights(self) -> None:
        """Once the backbone has its weights: a head's own copies of its blocks begin with the same."""
        if hasattr(self.head, "load_trunk_weights"):
            self.head.load_trunk_weights(self.backbone)  # type: ignore[operator]


def at_least_float32(values: Tensor) -> Tensor:
    """What autocast made float16 or bfloat16, as float32; float64 stays, so that a gradient can be checked."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
