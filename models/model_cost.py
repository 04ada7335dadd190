"""The cost of a member, from its network without weights: bytes, and operations per image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from configs.schema import Member, Recipe
from models import registry

BATCH = 4  # images of the trial run, which has shapes only


@dataclass(frozen=True)
class Footprint:
    """The cost of one member.

    weights: bytes of the state. parameters: bytes of its trained part. tensors: number of tensors in the state.
    dim: E, feature size.
    flops: multiplications plus additions of one image's forward pass; training costs three times as many.
    kept: bytes saved per image for the backward pass, in float32.
    """

    weights: int
    parameters: int
    tensors: int
    dim: int
    flops: float
    kept: float

    def checkpoint(self) -> int:
        """Bytes of a checkpoint: the state, and two moments of each parameter."""
        return self.weights + 2 * self.parameters

    def memory(self, batch: int, precision: str) -> int:
        """Bytes of memory for training: weights, gradients, two moments, and activations of a batch."""
        share = 1.0 if precision == "float32" else 0.5
        return int(self.checkpoint() + self.parameters + batch * self.kept * share)


RESNET50 = Footprint(
    weights=100_000_000, parameters=99_000_000, tensors=320, dim=2048, flops=5.1e8, kept=4.1e6
)  # 64x32


def footprint(member: Member, recipe: Recipe, classes: int) -> Footprint:
    """The cost of one member. If its network cannot be run on shapes only, the cost of ResNet-50.

    Raises:
        ConfigError: the registry has no such network.
    """
    saved: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return value

    with torch.device("meta"):
        net = registry.make_net(member, classes, recipe.classifier).train()
        net.resize(recipe.size)
        images = torch.empty(BATCH, 3, *recipe.size)
    try:
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda v: v):
            output = net(images)
    except (RuntimeError, ValueError):  # the network reads values, and there are none
        share = recipe.size[0] * recipe.size[1] / (64 * 32)
        return replace(RESNET50, flops=share * RESNET50.flops, kept=share * RESNET50.kept)
    own = {p.untyped_storage()._cdata for p in net.parameters()}
    kept = sum(size for storage, size in saved.items() if storage not in own) / BATCH
    state = [v.numel() * v.element_size() for v in net.state_dict().values()]
    trained = sum(p.numel() * p.element_size() for p in net.parameters() if p.requires_grad)
    flops = counter.get_total_flops() / BATCH
    return Footprint(sum(state), trained, len(state), output.bn_feats.shape[1], flops, kept)
