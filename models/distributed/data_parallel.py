"""One training step on several processes. It updates the weights like one process with the whole batch.

Each process runs its shard of the batch.
Batch norms use the statistics of the whole batch.
The outputs of the head are gathered, so every process computes the loss of the whole batch.
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
from models.net import Output, at_least_float32

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TAKES = inspect.signature(DistributedDataParallel).parameters  # torch renamed one of them
BUFFERS_STAY: dict[str, Any] = {
    "forward_sync_buffers" if "forward_sync_buffers" in _TAKES else "broadcast_buffers": False
}


def spread(net: nn.Module, team: ProcessGroup, device: torch.device) -> nn.Module:
    """The module to call in place of the network. It averages gradients and synchronizes batch norms.

    Raises:
        ConfigError: a batch norm of an unsupported class.
    """
    return net if team.size == 1 else distributed(net, device)


def distributed(net: nn.Module, device: torch.device) -> nn.Module:
    """The network as DistributedDataParallel with synchronized batch norms.

    Raises:
        ConfigError: a batch norm of an unsupported class.
    """
    # the gradient of a Pointwise convolution has other strides than its weight, with the same memory
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in (*NORMS, *SHARED):
            raise ConfigError(f"{name}: {type(module).__name__} cannot be synchronized over processes; use one process")
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
        return DistributedDataParallel(net, device_ids=[torch.cuda.current_device()], **BUFFERS_STAY)
    for module in net.modules():
        if type(module) in NORMS:
            module.__class__ = SharedNorm
    return DistributedDataParallel(net, **BUFFERS_STAY)


def whole_batch(output: Output, labels: Tensor, team: ProcessGroup) -> tuple[Output, Tensor]:
    """Gather the outputs and labels of all shards, in the order of the whole batch."""
    if team.size == 1:
        return output, labels
    parts = [at_least_float32(x) for x in (output.feats, output.bn_feats, *output.logits)]
    gathered: Tensor = _Gathered.apply(torch.cat(parts, dim=1), team)
    feats, bn_feats, *logits = gathered.split([x.shape[1] for x in parts], dim=1)
    every = [torch.empty_like(labels) for _ in range(team.size)]
    dist.all_gather(every, labels)
    return Output(feats, bn_feats, tuple(logits), output.n_branches), torch.cat(every)


def check_shares(identities: int, images: int, team: ProcessGroup) -> None:
    """Check that the batch divides equally over the processes.

    Raises:
        ConfigError: it does not.
    """
    batch = identities * images
    if batch % team.size or batch // team.size < 2:
        fits = [n for n in range(1, batch // 2 + 1) if batch % n == 0]
        raise ConfigError(
            f"a batch of {identities} x {images} = {batch} images does not divide over {team.size} processes; "
            f"start torchrun with {', '.join(map(str, fits))} processes, or change recipe.identities_per_batch"
        )


class _Gathered(torch.autograd.Function):
    """All-gather of rows, in the order of the processes.

    All processes compute the same loss of the gathered rows, so each already has the gradient of its own rows.
    The gradient is scaled by the number of processes, since DistributedDataParallel averages where a sum is needed.
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
    """All-reduce sum. Its gradient is the sum of the gradients."""

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
    """Synchronized batch norm over shards of equal size, on any device. torch's own works on GPUs only."""

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


SHARED = (SharedNorm, nn.SyncBatchNorm)  # of a network that ran together before
