"""Training batches of features that a frozen backbone gave once for every image, plain and mirrored."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.ahead import prefetch
from models.data.augment.chain import Chain, make_chain
from models.data.feed import BatchSource, Turn


class FeatureFeed:
    """A `Feed`. A flip is drawn for each image as it is for pixels, and takes the mirrored image's features.

    Args:
        source: its augmentations are none, or one flip.
        features: each (1 or 2, N, ...): of the images, and of the mirrored ones if there is a flip.
    """

    def __init__(self, source: BatchSource, features: Sequence[NDArray[np.float32]]) -> None:
        self.source, self.features = source, features
        self.chain: Chain = make_chain(source.augments, source.images.shape[1:3])
        self.count = len(range(source.sampling.batch)[source.share])

    def turns(self, epoch: int, batch: int, epochs: int) -> Generator[Turn, None, None]:
        """See `Feed`."""
        tables = [((self.source.numbers,), torch.float64), ((self.count, 2 + self.chain.width), torch.float64)]
        like = [*tables, *(((self.count, *x.shape[2:]), torch.float32) for x in self.features)]
        works = self.source.works(self._fill, epoch, batch, epochs)
        for (number, count, rate), tensors in prefetch(works, like, self.source.device):
            yield Turn(number, count, rate, tensors)

    def _fill(
        self, header: Sequence[float], epoch: int, batch: int, every: NDArray[np.int64], arrays: Sequence[NDArray[Any]]
    ) -> None:
        head, table, *out = arrays
        rows = every[batch]
        own, places = rows[self.source.share], range(batch * len(rows), (batch + 1) * len(rows))[self.source.share]
        head[:] = header
        table[:, 0], table[:, 1] = own, self.source.sampling.labels[own]
        self.chain.draw(self.source.sampling.seed, epoch, places, every.ravel(), table[:, 2:])
        mirrored = table[:, 2:].any(axis=1).astype(np.int64)
        for there, kept in zip(out, self.features, strict=True):
            there[:] = kept[mirrored, own]

    def unpack(self, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """The tensors of a turn -> features, labels and header of a step."""
        header, table, *features = tensors
        return tuple(features), table[:, 1].long(), header
