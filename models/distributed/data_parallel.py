"""One step on several processes that moves the weights as one process with the whole batch would.

Each process runs its part of the batch. Batch norms see the whole batch; what the head gives is gathered, so that every
process has the losses of the whole batch, hardest triplets among all of it, with whatever loss the recipe names.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.parallel import DistributedDataParallel

from configs.errors import ConfigError
from models.distributed.process_group import ProcessGroup
from models.net import Net, Output, at_least_float32

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TAKES = inspect.signature(DistributedDataParallel).parameters  # torch renamed one of them
BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _TAKES else "broadcast_buffers": False
}


def spread(net: Net, team: ProcessGroup, device: torch.device) -> nn.Module:
    """What to call in place of the network: its gradients are averaged over the team, its norms shared.

    Raises:
        ConfigError: a batch norm of a kind that cannot be shared.
    """
    return net if team.size == 1 else distributed(net, device)


def distributed(net: Net, device: torch.device) -> nn.Module:
    """The network as one of a process group's.

    Raises:
        ConfigError: a batch norm of a kind that cannot be shared.
    """
    # a 1x1 convolution's gradient, made as a matrix product, has other strides than its weight, and the same memory
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in NORMS:
            raise ConfigError(f"{name} is a {type(module).__name__}, which several processes cannot share; run one")
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
        return DistributedDataParallel(net, device_ids=[torch.cuda.current_device()], **BUFFERS_STAY)
    for module in net.modules():
        if type(module) in NORMS:
            module.__class__ = SharedNorm
    return DistributedDataParallel(net, **BUFFERS_STAY)


def whole_batch(output: Output, labels: Tensor, team: ProcessGroup) -> tuple[Output, Tensor]:
    """The Output and labels of the team's whole batch, in the order one process would have them, from this part's."""
    if team.size == 1:
        return output, labels
    parts = [at_least_float32(x) for x in (output.feats, output.bn_feats, *output.logits)]
    gathered: Tensor = _Gathered.apply(torch.cat(parts, dim=1), team)
    feats, bn_feats, *logits = gathered.split([x.shape[1] for x in parts], dim=1)
    every = [torch.empty_like(labels) for _ in range(team.size)]
    dist.all_gather(every, labels)
    return Output(feats, bn_feats, tuple(logits), output.n_branches), torch.cat(every)


def check_shares(identities: int, images: int, team: ProcessGroup) -> None:
    """Every process takes as many images of a batch.

    Raises:
        ConfigError: the batch cannot be shared out so.
    """
    batch = identities * images
    if batch % team.size or batch // team.size < 2:
        fits = [n for n in range(1, batch // 2 + 1) if batch % n == 0]
        raise ConfigError(
            f"a batch of {identities} x {images} = {batch} images cannot be shared equally by {team.size} processes; "
            f"torchrun with {', '.join(map(str, fits))}, or change recipe.identities_per_batch"
        )


class _Gathered(torch.autograd.Function):
    """Every process's rows, one process after another.

    All processes compute the same loss of the gathered rows, so each has the gradient of its own rows at hand, and
    nothing need be sent back. It is scaled by the team's size because DistributedDataParallel takes the mean over the
    processes of what has to be a sum.
    """

    @staticmethod
    def forward(ctx, rows: Tensor, team: ProcessGroup) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.team = team
        every = [torch.empty_like(rows) for _ in range(team.size)]
        dist.all_gather(every, rows.contiguous())
        return torch.cat(every)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        return grad[ctx.team.shard(len(grad))] * ctx.team.size, None


class _Summed(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        total = grad.clone()
        dist.all_reduce(total)
        return total


class SharedNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batches of all processes, of equal size, on any device; torch's own works on GPUs alone."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same shape."""
        if not self.training:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        seen = at_least_float32(x)
        places = [d for d in range(x.dim()) if d != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        n = dist.get_world_size() * x.numel() // x.shape[1]
        mean = (_Summed.apply(seen.sum(places, dtype=torch.float64)) / n).to(seen.dtype)
        away = seen - mean.view(shape)
        var = (_Summed.apply(away.square().sum(places, dtype=torch.float64)) / n).to(seen.dtype)
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(var * n / (n - 1), self.momentum)  # type: ignore[union-attr, arg-type]
        scale = torch.rsqrt(var + self.eps) * self.weight
        return (away * scale.view(shape) + self.bias.view(shape)).to(x.dtype)
