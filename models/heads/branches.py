"""Heads with several branches. Each has its own last blocks, and gives global and part features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from models.heads.classifiers import Classify, linear
from models.heads.pooling import Pool
from models.heads.stripes import adaptive_stripes, equal_stripes
from models.net import Output, at_least_float32

Grid = tuple[int, int]  # rows, columns; (1, 1) is the whole map alone


class PartOutput(NamedTuple):
    """One part of B images: (B, W) before the neck, after it, and the logits (B, K) in training."""

    feats: Tensor
    bn_feats: Tensor
    logits: Tensor | None


class Part(nn.Module):
    """Reduction, BNNeck, classifier (Luo et al. 2019, section 3.6, for each of the parts of Wang et al. 2018, MGN)."""

    def __init__(self, channels: int, width: int, classes: int, classifier: Classify = linear) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, width, bias=False)
        self.neck = nn.BatchNorm1d(width)
        self.neck.bias.requires_grad_(False)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out")
        self.classifier = classifier(width, classes)

    def forward(self, pooled: Tensor) -> PartOutput:
        """(B, C) -> PartOutput."""
        feats = at_least_float32(self.reduce(pooled))
        bn_feats = self.neck(feats)
        return PartOutput(feats, bn_feats, self.classifier(bn_feats) if self.training else None)


class Branch(nn.Module):
    """One branch: a feature of the whole map, and one of each cell of its grid."""

    def __init__(
        self,
        channels: int,
        width: int,
        classes: int,
        grid: Grid,
        pool: str,
        adaptive: bool,
        classifier: Classify = linear,
    ) -> None:
        super().__init__()
        self.grid, self.adaptive = grid, adaptive
        cells = grid[0] * grid[1]
        self.pool = Pool(pool)
        parts = 1 if cells == 1 else 1 + cells
        self.parts = nn.ModuleList(Part(channels, width, classes, classifier) for _ in range(parts))

    def forward(self, x: Tensor) -> list[PartOutput]:
        """(B, C, h, w) -> the part of the whole map, then the parts of the cells, row by row.

        Raises:
            ConfigError: more stripes than rows, or a grid that does not divide the map.
        """
        pooled = [self.pool(x)] + ([] if self.grid == (1, 1) else self._cells(x))
        return [part(p) for part, p in zip(self.parts, pooled, strict=True)]

    def _cells(self, x: Tensor) -> list[Tensor]:
        (rows, columns), (height, width) = self.grid, x.shape[2:]
        if columns > 1 and (height % rows or width % columns):
            raise ConfigError(
                f"a {rows}x{columns} grid does not divide a feature map of {height}x{width}; change recipe.size (a "
                "resnet's map has one row or column for 16 pixels)"
            )
        stripes = adaptive_stripes(x, rows) if self.adaptive else equal_stripes(height, rows, x.device)
        cells = torch.stack([self.pool.stripes(part, stripes) for part in x.chunk(columns, dim=3)], dim=2)
        return list(cells.flatten(1, 2).unbind(1))


class BranchHead(nn.Module):
    """The first branch is the trunk itself. Each other branch has copies of its blocks from `fork` on, or none.

    A branch gives a global part, and one part per cell of its grid. The triplet loss uses the global parts. The ID loss
    uses every part. The feature for retrieval is the concatenation of all parts.

    Args:
        backbone: the trunk whose blocks are copied. channels: C of its last map.
        classes: K.
        grids: one a branch; the first is (1, 1).
        width: of each part's feature.
        pool: avg, max or gem; the parts of one branch share it.
        fork: the first block that a branch has to itself, `layer1.0` to `layer4.2`, of a plain ViT such as `blocks.11`;
            None: every branch sees the last map, of any backbone (Sun et al., ECCV 2018, PCB, cuts its map so).
        adaptive: the heights of the stripes are by ABP; else equal.
        apart: the stripes are cut at the fork, and go through the branch's blocks apart from each other.
        classifier: makes the classifier of a part.

    Raises:
        ValueError: the backbone has no such block.
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int,
        classes: int,
        grids: Sequence[Grid],
        *,
        width: int,
        pool: str,
        fork: str | None,
        adaptive: bool,
        apart: bool,
        classifier: Classify = linear,
    ) -> None:
        super().__init__()
        if apart and fork is None:
            raise ValueError(
                "its stripes go through blocks of their own, so fork must name the first, such as layer4.1"
            )
        if fork is not None and not hasattr(backbone, "tail"):
            raise ValueError(
                "it branches off among the blocks of a resnet or a plain ViT, and this backbone has none; take "
                "{name: mgn, fork: null} or {name: mgn_grid, fork: null}, whose branches share the last map, or global"
            )
        if width < 1 or any(rows < 1 or columns < 1 for rows, columns in grids):
            raise ValueError(f"width {width}, grids {list(grids)}; wanted 1 or more of each")
        self.fork, self.grids, self.apart = fork, tuple(grids), apart
        self.dim = width * len(self.grids)
        self.tails = nn.ModuleList(
            nn.Identity() if fork is None else backbone.tail(fork)  # type: ignore[operator]
            for _ in self.grids[1:]
        )
        self.branches = nn.ModuleList(
            Branch(channels, width, classes, grid, pool, adaptive, classifier) for grid in self.grids
        )

    def load_trunk_weights(self, backbone: nn.Module) -> None:
        """Copy the trunk's weights into every branch. Call it after loading the trunk's weights."""
        if self.fork is not None:
            for tail in self.tails:
                tail.load_state_dict(backbone.tail(self.fork).state_dict())  # type: ignore[operator]

    def forward(self, last: Tensor, before: Tensor | tuple[Tensor, Tensor] | None = None) -> Output:
        """The trunk's last map (B, C, h, w), and the input of the block `fork` if any, to an Output.

        before: a map; for a transformer a map and the prefix tokens (B, P, C).
        """
        x, *tokens = before if isinstance(before, tuple) else (last if before is None else before,)
        maps, stride = [last], -(-x.shape[2] // last.shape[2])
        for tail, (rows, _) in zip(self.tails, self.grids[1:], strict=True):
            maps.append(run_stripes_separately(tail, x, rows, stride, *tokens) if self.apart else tail(x, *tokens))
        branches = [branch(at_least_float32(x)) for branch, x in zip(self.branches, maps, strict=True)]
        every = [part for branch in branches for part in branch]
        return Output(
            torch.cat([branch[0].feats for branch in branches], dim=1),
            torch.cat([part.bn_feats for part in every], dim=1),
            tuple(part.logits for part in every if part.logits is not None),
            n_branches=len(branches),
        )


def run_stripes_separately(tail: nn.Module, x: Tensor, parts: int, stride: int = 1, *tokens: Tensor) -> Tensor:
    """Cut a map into equal stripes, run each through the blocks as a separate image, and join the results.

    A convolution sees only its stripe: the cuts are padded like the edges of an image. Batch norms see all stripes of
    all images together, in training and in evaluation.

    Args:
        x: (B, C, h, w).
        parts: P stripes.
        stride: rows that the blocks make one of; P times as many must divide h, or stripes would lie across the cuts.
        tokens: (B, T, C), which the blocks of a transformer are given beside every stripe of an image.

    Returns:
        (B, C', h / stride, w').

    Raises:
        ConfigError: the stripes do not divide the map.
    """
    batch, _, height, _ = x.shape
    if height % (parts * stride):
        halved = f" and then made {stride} times lower" if stride > 1 else ""
        raise ConfigError(
            f"{parts} stripes do not divide a feature map of {height} rows, which is cut before the branch's blocks"
            f"{halved}; change recipe.size (a resnet's last map has one row for 16 pixels), or the number of stripes"
        )
    stripes = x.unflatten(2, (parts, height // parts)).transpose(1, 2).flatten(0, 1)
    stripes = stripes.contiguous(memory_format=torch.channels_last) if _channels_last(x) else stripes
    done: Tensor = tail(stripes, *(beside.repeat_interleave(parts, dim=0) for beside in tokens))
    return done.unflatten(0, (batch, parts)).transpose(1, 2).flatten(2, 3)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
