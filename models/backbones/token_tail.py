"""The last blocks of a transformer as a branch of their own: patches laid out as a map in, and a map out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


def token_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a plain ViT of timm by their names, but the first; of any other model none.

    Blocks of other transformers need positions too (rotations, windows, tables), which a part of a map does not have.
    """
    kind = type(model)
    if (kind.__module__, kind.__name__) != ("timm.models.vision_transformer", "VisionTransformer"):
        return {}
    return {f"blocks.{i}": block for i, block in enumerate(model.blocks) if i}  # type: ignore[arg-type]


class TokenTail(nn.Module):
    """Copies of blocks and norms, run on class and register tokens before the patches of a map.

    Attention sees these tokens and the given patches. So each part of a cut map is seen beside the same class token, as
    in TransReID (He et al., ICCV 2021, section 3.2). There the patches are shuffled, here they are not.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(copy.deepcopy(layer) for layer in layers))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """A map (B, C, h, w) and the tokens (B, P, C) before it -> (B, C, h, w)."""
        done: Tensor = self.layers(torch.cat((tokens, x.flatten(2).transpose(1, 2)), dim=1))
        return done[:, tokens.shape[1] :].transpose(1, 2).unflatten(2, (x.shape[2], x.shape[3]))
