"""MGN: three branches with one, two and three stripes; and the same with a grid as the fourth branch."""

from __future__ import annotations

from torch import nn

from models.heads.branches import BranchHead
from models.heads.classifiers import Classify, linear

STRIPES = ((1, 1), (2, 1), (3, 1))


def mgn(
    *,
    backbone: nn.Module,
    channels: int,
    classes: int,
    width: int = 256,
    pool: str = "max",
    fork: str | None = "layer4.1",
    adaptive: bool = False,
    classifier: Classify = linear,
) -> BranchHead:
    """The multiple granularity network (Wang et al., ACM MM 2018): global; global and 2 stripes; global and 3 stripes.

    Differences from the paper: every part has a BNNeck. The ID loss of a global part also uses its reduced feature. No
    branch halves its map. The branches separate later (the paper: from the second block of layer 3 on).

    Args:
        width: of each part's feature.
        pool: avg, max or gem.
        fork: the first block that a branch has to itself, `layer1.0` to `layer4.2`; the paper's is `layer3.1`. Of a
            plain ViT such as `blocks.11`. None: no branch has any, which every backbone can.
        adaptive: stripes by ABP, of unequal heights.
    """
    return BranchHead(
        backbone,
        channels,
        classes,
        STRIPES,
        width=width,
        pool=pool,
        fork=fork,
        adaptive=adaptive,
        apart=False,
        classifier=classifier,
    )


def mgn_grid(
    *,
    backbone: nn.Module,
    channels: int,
    classes: int,
    width: int = 256,
    pool: str = "max",
    fork: str | None = "layer4.1",
    adaptive: bool = False,
    classifier: Classify = linear,
) -> BranchHead:
    """`mgn` with a fourth branch that cuts the map 2 x 2, so that it also sees left and right.

    This project's own. The arguments are those of `mgn`.
    """
    return BranchHead(
        backbone,
        channels,
        classes,
        (*STRIPES, (2, 2)),
        width=width,
        pool=pool,
        fork=fork,
        adaptive=adaptive,
        apart=False,
        classifier=classifier,
    )
