"""Features of images: `bn_feats`, averaged over views such as the mirrored image, as unit rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import Tensor
from torch.nn.functional import normalize

from configs.errors import TrainingError, WeightsError
from configs.progress import Progress
from configs.schema import Member
from models import registry
from models.data.batches import normalise, plain_batches
from models.device import autocast
from models.fold import ready
from models.net import Net
from models.shards import SHARD, find_shard, keep_shard
from models.team import ALONE, Team
from models.train import LABELS, WEIGHTS
from models.views import View

BATCH = 128


def load_member(member: Member, folder: Path) -> Net:
    """A trained member from the folder that `train_member` filled.

    Raises:
        WeightsError: the weights are of another network.
    """
    classes = len(json.loads((folder / LABELS).read_text(encoding="utf-8"))["pids"])
    net = registry.make_net(member, classes)
    try:
        net.load_state_dict(load_safetensors((folder / WEIGHTS).read_bytes()))
    except RuntimeError as e:
        first = " ".join(str(e).split())[:300]
        raise WeightsError(f"{folder / WEIGHTS}: not the weights of member {member.name!r} ({first})") from e
    return net.eval()


def extract(
    net: Net,
    images: NDArray[np.uint8],
    names: tuple[str, ...],
    *,
    views: Sequence[View],
    channels_last: bool,
    device: torch.device,
    precision: str,
    progress: Progress,
    what: str = "features",
    keep: Path | None = None,
    team: Team = ALONE,
) -> NDArray[np.float32]:
    """Unit features of images (N, H, W, 3) uint8.

    Args:
        views: of each image (`models/views.py`); its feature is the mean over them.
        keep: a folder for the shards of a long extraction; those of an interrupted one in it are gone on from.
        team: the processes that share the images out, all of which call this; `keep` is for the one that leads.

    Returns:
        (N, D) float32, each row of length 1; for processes that do not lead, of the shards made now.

    Raises:
        TrainingError: a feature is not finite, or is zero; the message names the images.
    """
    net = ready(net.to(device), precision)
    if channels_last:
        net = net.to(memory_format=torch.channels_last)

    def features_of(raw: Tensor) -> NDArray[np.float32]:
        batch = normalise(raw, device, channels_last=channels_last)
        with torch.inference_mode(), autocast(device, precision):
            feats = net(views[0](batch)).bn_feats.float()
            for view in views[1:]:
                feats = feats + net(view(batch)).bn_feats.float()
        unit: NDArray[np.float32] = normalize(feats, dim=1).cpu().numpy()
        return unit

    with progress.task(what, len(images)) as step:
        shards = list(_shards(features_of, images, keep, team, step, progress.say))
    result = np.concatenate(shards) if shards else np.empty((0, 0), np.float32)
    if team.leads:
        check_unit(result, names, what)
    return result


def _shards(
    features_of: Callable[[Tensor], NDArray[np.float32]],
    images: NDArray[np.uint8],
    keep: Path | None,
    team: Team,
    step: Callable[[float], None],
    say: Callable[[str], None],
) -> Iterator[NDArray[np.float32]]:
    """The features of SHARD images after another, made now or found in `keep`; those found, for the leader alone."""
    for start in range(0, len(images), SHARD):
        part = images[start : start + SHARD]
        kept = find_shard(keep, start, len(part), say) if keep else None
        if team.told(kept is None):
            rows = []
            for _, raw in plain_batches(part[team.part(len(part))], BATCH):
                rows.append(features_of(raw))
                step(len(raw) * team.size)
            kept = team.gather(np.concatenate(rows) if rows else None, len(part))
            if keep:
                keep_shard(keep, start, kept)
        else:
            step(len(part))
        if kept is not None:
            yield kept


def check_unit(feats: NDArray[np.float32], names: Sequence[str], what: str) -> None:
    """Whether every row is of length 1.

    Raises:
        TrainingError: a feature is not finite, or is zero; the message names the images.
    """
    lengths = np.einsum("nd,nd->n", feats, feats)
    bad = np.flatnonzero(~(np.abs(lengths - 1) < 1e-3))
    if len(bad):
        raise TrainingError(
            f"{what}: {len(bad)} of {len(feats)} features are not finite or are zero, first of "
            f"{', '.join(names[i] for i in bad[:3])}. The member's training went wrong: lower recipe.optimizer.lr"
        )
