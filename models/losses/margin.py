"""The losses with a margin between classes: ArcFace (an angle) and CosFace (a cosine), fixed or by class size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.net import Output, at_least_float32

Shift = Callable[[Tensor, Tensor], Tensor]  # (B,) cosines with the true class, (B,) margins -> (B,) smaller values
SINE = 1e-7  # the least squared sine: the root has no gradient at 0


class MarginLoss(nn.Module):
    """The cross entropy with the true class's cosine replaced by a smaller value, the mean over classifiers.

    Args:
        shift: the smaller value, by the cosine and the margin.
        margins: (K,) or (1,), of each identity or of all.
        scale: s of the cosine classifier.
    """

    margins: Tensor

    def __init__(self, shift: Shift, margins: Tensor, scale: float) -> None:
        super().__init__()
        self.shift, self.scale = shift, scale
        self.register_buffer("margins", margins, persistent=False)  # a function of the data: no checkpoint needs it

    def forward(self, output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        """Logits (B, K) of a cosine classifier and labels (B,) -> a scalar."""
        margins = self.margins[labels] if len(self.margins) > 1 else self.margins
        return torch.stack([self._one(at_least_float32(logits), labels, margins) for logits in output.logits]).mean()

    def _one(self, logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
        cosine = logits.gather(1, labels[:, None]).squeeze(1) / self.scale
        shifted = self.scale * self.shift(cosine, margins.to(logits.dtype))
        true = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
        moved = torch.where(true, shifted[:, None], logits)
        return -moved.log_softmax(dim=1).gather(1, labels[:, None]).mean()


def arcface_loss(
    *,
    scale: float,
    counts: Sequence[int] | None,
    margin: float = 0.5,
    least: float | None = None,
    power: float = 0.25,
) -> MarginLoss:
    """The angle to the true class is enlarged by a margin: `cos(theta + m)` (Deng et al., CVPR 2019, ArcFace, eq. 3).

    From theta = pi - m on, cos(theta + m) would rise again. There it is `cos(theta) - m sin(m)`, as in the authors'
    code. With a cosine classifier of several centers it is sub-center ArcFace (Deng et al., ECCV 2020).

    Args:
        scale: of the cosine classifier. counts: images of each identity.
        margin: m in radians, from 0 to pi / 2; with `least`, that of the identity with the fewest images.
        least, power: margins by the number of images, see `margins_by_size`.

    Raises:
        ValueError: an option out of bounds.
    """
    return MarginLoss(_angle, _margins(margin, least, power, counts, math.pi / 2), scale)


def cosface_loss(
    *,
    scale: float,
    counts: Sequence[int] | None,
    margin: float = 0.35,
    least: float | None = None,
    power: float = 0.25,
) -> MarginLoss:
    """The cosine to the true class is reduced by a margin: `cos(theta) - m` (Wang et al., CVPR 2018, CosFace, eq. 4).

    Args:
        scale: of the cosine classifier. counts: images of each identity.
        margin: m, from 0 to 2; with `least`, that of the identity with the fewest images.
        least, power: margins by the number of images, see `margins_by_size`.

    Raises:
        ValueError: an option out of bounds.
    """
    return MarginLoss(torch.sub, _margins(margin, least, power, counts, 2.0), scale)


def margins_by_size(counts: Sequence[int], most: float, least: float, power: float) -> Tensor:
    """(K,) float64: `a n^-power + b` for an identity of n images (Ha et al. 2020, arXiv 2010.05350).

    a and b are such that the smallest identity has the margin `most`, and the largest `least`. Where all are of one
    size, all have `most`.
    """
    sizes = np.asarray(counts, np.float64) ** -power
    low, high = sizes.min(), sizes.max()
    share = (sizes - low) / (high - low) if low < high else np.ones_like(sizes)
    return torch.tensor((least + (most - least) * share).tolist(), dtype=torch.float64)


def _angle(cosine: Tensor, margins: Tensor) -> Tensor:
    """cos(theta + m), or what goes on below it where theta + m is beyond pi."""
    cos, sin = margins.cos(), margins.sin()
    sine = (1 - cosine.square()).clamp(min=SINE).sqrt()
    return torch.where(cosine > -cos, cosine * cos - sine * sin, cosine - margins * sin)


def _margins(margin: float, least: float | None, power: float, counts: Sequence[int] | None, most: float) -> Tensor:
    if not 0 <= margin <= most:
        raise ValueError(f"margin {margin!r}; must be from 0 to {most:.4g}")
    if least is None:
        return torch.tensor([margin], dtype=torch.float64)
    if not 0 <= least <= margin:
        raise ValueError(f"least {least!r} with margin {margin!r}; must be from 0 to the margin")
    if not 0 < power < math.inf:
        raise ValueError(f"power {power!r}; must be above 0")
    if counts is None:
        raise ValueError(f"least {least!r}; the number of images of each identity is not known here. Leave it out")
    return margins_by_size(counts, margin, least, power)
