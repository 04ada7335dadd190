"""What a member costs, read off its network without weights: bytes, and products an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from configs.errors import ConfigError
from configs.schema import Member, Recipe
from models import registry

BATCH = 4  # images that are pushed through, as shapes alone


@dataclass(frozen=True)
class Footprint:
    """weights, parameters: bytes of the whole state, and of what is trained of it. tensors: of the state, their number.

    dim: E, values of a feature.

    flops: multiplications and additions of one image's way through, each counted; training costs three times as many.
    kept: bytes that the way back needs of one image, in float32.
    """

    weights: int
    parameters: int
    tensors: int
    dim: int
    flops: float
    kept: float

    def checkpoint(self) -> int:
        """Bytes of what a killed training goes on from: the state, and two moments of each parameter."""
        return self.weights + 2 * self.parameters

    def memory(self, batch: int, precision: str) -> int:
        """Bytes that training takes: weights, gradients, two moments, and what a batch leaves for the way back."""
        share = 1.0 if precision == "float32" else 0.5
        return int(self.checkpoint() + self.parameters + batch * self.kept * share)


def footprint(member: Member, recipe: Recipe, classes: int) -> Footprint:
    """The costs of one member.

    Raises:
        ConfigError: the registry has no such network, or the images are too small for it.
    """
    saved: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return value

    try:
        with torch.device("meta"):
            net = registry.make_net(member, classes).train()
            images = torch.empty(BATCH, 3, *recipe.size)
        with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda v: v):
            output = net(images)
    except (RuntimeError, NotImplementedError) as e:
        raise ConfigError(f"{member.name}: its network cannot be measured ({e})") from e
    own = {p.untyped_storage()._cdata for p in net.parameters()}
    kept = sum(size for storage, size in saved.items() if storage not in own) / BATCH
    state = [v.numel() * v.element_size() for v in net.state_dict().values()]
    trained = sum(p.numel() * p.element_size() for p in net.parameters() if p.requires_grad)
    flops = counter.get_total_flops() / BATCH
    return Footprint(sum(state), trained, len(state), output.bn_feats.shape[1], flops, kept)
