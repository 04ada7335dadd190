"""RMGL: stripes are processed separately from an intermediate layer on, and joined again before pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from models.heads.branches import BranchHead
from models.heads.classifiers import Classify, linear


def rmgl(
    *,
    backbone: nn.Module,
    channels: int,
    classes: int,
    stripes: Sequence[int] = (2, 4),
    width: int = 256,
    pool: str = "max",
    fork: str = "layer4.1",
    adaptive: bool = True,
    classifier: Classify = linear,
) -> BranchHead:
    """A global branch, and one branch per number of stripes. This project's own.

    The input map of the block `fork` is cut into stripes of equal height. They pass the following blocks as separate
    images. The output is joined again (RP) and pooled by ABP. Unlike in `mgn`, the last convolutions do not mix
    neighbouring stripes, and the borders of the stripes follow the body.

    Args:
        stripes: of each branch; each must divide the height of the map at the fork.
        width: of each part's feature.
        pool: avg, max or gem.
        fork: the block before which the map is cut, `layer1.0` to `layer4.2`; of a plain ViT such as `blocks.11`. The
            design's cut lies in a middle layer: `layer3.0` is after layer 2, `layer3.1` to `layer3.5` within layer 3.
            Late, by default, for the step's time.
        adaptive: pooled by ABP; else into stripes of equal height.
    """
    grids = ((1, 1), *((n, 1) for n in stripes))
    return BranchHead(
        backbone,
        channels,
        classes,
        grids,
        width=width,
        pool=pool,
        fork=fork,
        adaptive=adaptive,
        apart=True,
        classifier=classifier,
    )
