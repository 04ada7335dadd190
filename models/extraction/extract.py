"""Features of images: `bn_feats`, averaged over views such as the mirrored image, as unit rows."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import Tensor
from torch.nn.functional import normalize

from configs.console.progress import Progress
from configs.errors import TrainingError, WeightsError
from configs.schema import Member
from configs.store.atomic_files import write_file
from models import registry
from models.data.ahead import prefetch
from models.data.batches import normalise
from models.device import DTYPES, autocast, computing
from models.distributed.process_group import ALONE, ProcessGroup
from models.extraction.fold_batch_norm import fold_batch_norms
from models.extraction.fused_convolutions import fuse
from models.extraction.views import View, other_sizes
from models.net import Net
from models.training.launch import make_launch
from models.training.train import LABELS, WEIGHTS

BATCH, GPU_BATCH = 128, 512  # images; both divide a shard
SHARD = 1024  # images; a multiple of the batch, so that a batch holds the same images in an interrupted extraction


def load_member(member: Member, folder: Path, size: tuple[int, int]) -> Net:
    """A trained member from the folder that `train_member` filled.

    Args:
        size: height, width of the images that it was trained on.

    Raises:
        WeightsError: the weights are of another network.
    """
    classes = len(json.loads((folder / LABELS).read_text(encoding="utf-8"))["pids"])
    weights = load_safetensors((folder / WEIGHTS).read_bytes())
    # features need no classifier: one of any kind will do that has as many weights, several of a class or one
    rows = next((len(value) for name, value in weights.items() if name.endswith("classifier.weight")), classes)
    net = registry.make_net(member, rows)
    net.resize(size)
    try:
        net.load_state_dict(weights)
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
    others: Sequence[NDArray[np.uint8]] = (),
    channels_last: bool,
    device: torch.device,
    precision: str,
    progress: Progress,
    what: str = "features",
    keep: Path | None = None,
    team: ProcessGroup = ALONE,
) -> NDArray[np.float32]:
    """Unit features of images (N, H, W, 3) uint8.

    Args:
        views: of each image (`models/extraction/views.py`); its feature is the mean over them.
        others: the same images decoded at the sizes of `views.other_sizes`, in that order.
        keep: a folder for the shards of a long extraction; those of an interrupted one in it are gone on from.
        team: the processes that share the images out, all of which call this; `keep` is for the one that leads.

    Returns:
        (N, D) float32, each row of length 1; for processes that do not lead, of the shards made now.

    Raises:
        ValueError: `others` are not of the views' sizes.
        TrainingError: a feature is not finite, or is zero; the message names the images.
    """
    sizes, wanted = [array.shape[1:3] for array in others], other_sizes(views, images.shape[1:3])
    if sizes != wanted:
        raise ValueError(f"images decoded at {sizes} beside {images.shape[1:3]}; the views want {wanted}")
    starts = range(0, len(images), SHARD)
    found = (
        {start: find_shard(keep, start, len(images[start : start + SHARD]), progress.say) for start in starts}
        if keep
        else {}
    )
    found = {start: kept for start, kept in found.items() if kept is not None}
    todo: list[int] = team.broadcast([start for start in starts if start not in found])
    with computing(device), progress.task(what, len(images)) as step:
        step(sum(len(images[start : start + SHARD]) for start in starts if start not in todo))
        features = FeatureExtractor(net, views, channels_last, device, precision, progress.say)
        for start, own in extract_shards(features, [images, *others], todo, team, step):
            whole = team.gather(own, len(images[start : start + SHARD]))
            found[start] = whole
            if keep:
                keep_shard(keep, start, whole)
    result = np.concatenate([found[s] for s in starts if s in found]) if found else np.empty((0, 0), np.float32)
    if team.is_leader:
        check_unit(result, names, what)
    return result


class FeatureExtractor:
    """A network made ready, and what it gives for one batch after another; on a GPU captured as one graph."""

    def __init__(
        self,
        net: Net,
        views: Sequence[View],
        channels_last: bool,
        device: torch.device,
        precision: str,
        say: Callable[[str], None],
    ) -> None:
        net = fold_batch_norms(net.to(device), precision)
        if channels_last:
            net = net.to(memory_format=torch.channels_last)
        on_gpu = device.type == "cuda"
        self.net = fuse(net) if on_gpu and precision in DTYPES else net
        self.views, self.channels_last, self.device, self.precision = views, channels_last, device, precision
        self.batch = GPU_BATCH if on_gpu else BATCH
        self.launch = make_launch(self._forward, "auto" if on_gpu else "eager", device, ALONE, say)
        self.unit = torch.empty(0)

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """(B, H, W, 3) uint8 on the device to unit rows (B, D) float32 there, which the next call may write over.

        Args:
            images: in the member's size, and the same ones in the other sizes of the views.
        """
        self.launch(images)
        return self.unit

    def _forward(self, inputs: Sequence[Tensor]) -> None:
        batches = [
            normalise(x.permute(0, 3, 1, 2), self.device, channels_last=self.channels_last, scale=self.net.scale)
            for x in inputs
        ]
        decoded = {tuple(batch.shape[2:]): batch for batch in reversed(batches)}
        total: Tensor | None = None
        with torch.inference_mode(), autocast(self.device, self.precision):
            for view in self.views:
                feats = self.net(view(decoded[view.size] if view.size else batches[0])).bn_feats.float()
                total = feats if total is None else total + feats
        assert total is not None
        self.unit = normalize(total, dim=1)


def extract_shards(
    features: FeatureExtractor,
    images: Sequence[NDArray[np.uint8]],
    todo: Sequence[int],
    team: ProcessGroup,
    step: Callable[[float], None],
) -> Iterator[tuple[int, NDArray[np.float32] | None]]:
    """This process's part of the features of some shards, each with its first image; None where it has no part.

    `images` has an array for each size in which they are decoded.
    A batch holds the same images in an interrupted extraction, and on a GPU as many in every launch: the last one is
    filled up with images that it holds. There a shard is fetched while the next is made, so that neither waits.
    """
    count = len(images[0])
    shares = {start: range(count)[start : start + SHARD] for start in todo}
    shares = {start: share[team.shard(len(share))] for start, share in shares.items()}
    size, full = features.batch, features.device.type == "cuda"
    batches = [(start, share[i : i + size]) for start, share in shares.items() for i in range(0, len(share), size)]

    def fill(rows: range, arrays: Sequence[NDArray[np.uint8]]) -> None:
        for array, decoded in zip(arrays, images, strict=True):
            array[: len(rows)] = decoded[rows.start : rows.stop]
            array[len(rows) :] = array[0]

    works = ((rows, partial(fill, rows)) for _, rows in batches)
    like = [((size if full else min(size, count), *decoded.shape[1:]), torch.uint8) for decoded in images]
    waiting: deque[tuple[int, Callable[[], NDArray[np.float32]] | None]] = deque()
    with closing(prefetch(works, like, features.device)) as pieces:
        for start, share in shares.items():
            parts = []
            for _ in range(0, len(share), size):
                rows, pictures = next(pieces)
                unit = features(pictures if full else [x[: len(rows)] for x in pictures])[: len(rows)]
                parts.append(unit.clone() if full else unit)
                step(len(rows) * team.size)
            waiting.append((start, copy_to_host(torch.cat(parts)) if parts else None))
            if len(waiting) > full:
                first, land = waiting.popleft()
                yield first, land and land()
        for first, land in waiting:
            yield first, land and land()


def copy_to_host(made: Tensor) -> Callable[[], NDArray[np.float32]]:
    """Start the way of a tensor to the host; what waits for it there."""
    if not made.is_cuda:
        return made.numpy
    host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True).copy_(made, non_blocking=True)
    come = torch.cuda.Event()
    come.record()

    def wait() -> NDArray[np.float32]:
        come.synchronize()
        result: NDArray[np.float32] = host.numpy().copy()  # page-locked memory is scarce
        return result

    return wait


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


def keep_shard(folder: Path, start: int, feats: NDArray[np.float32]) -> None:
    """Write the features of the images from `start` on; the file's name bears the SHA-256 of its contents."""
    content = BytesIO()
    np.save(content, feats, allow_pickle=False)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{start}-{hashlib.sha256(content.getvalue()).hexdigest()}.npy", content.getvalue())


def find_shard(folder: Path, start: int, count: int, say: Callable[[str], None]) -> NDArray[np.float32] | None:
    """The features of `count` images from `start` on, where an earlier attempt kept them whole: (count, D) float32."""
    for path in sorted(folder.glob(f"{start}-*.npy")):
        content = path.read_bytes()
        if path.stem == f"{start}-{hashlib.sha256(content).hexdigest()}":
            feats: NDArray[np.float32] = np.load(BytesIO(content), allow_pickle=False)
            if len(feats) == count:
                return feats
        say(f"{path}: a damaged shard of features; its {count} images are extracted again")
        path.unlink()
    return None
