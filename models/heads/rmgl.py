"""RMGL: stripes that go apart from an intermediate layer on, and are laid together again before they are pooled."""

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
    """A global branch, and one for each number of stripes. This project's own.

    The map that goes into the block `fork` is cut into stripes of equal height, which go through the blocks from there
    on as images of their own; at the output they are laid together again (RP), and the whole is pooled by ABP. Against
    `mgn`, no stripe is told of its neighbours by the last convolutions, and its borders follow the body.

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
