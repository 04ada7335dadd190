"""Naming schemes of other projects for the tensors of the networks here: one table, one row per scheme."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Rules = tuple[tuple[str, str], ...]
START = r"(?<![^.])"  # a pattern matches at the beginning of a part of a dotted name; prefixes are unchanged
LAST = "{last}"  # in a rule: the number of the backbone's last block


@dataclass(frozen=True)
class NameMap:
    """One naming scheme.

    Attributes:
        whose: its name in reports.
        sign: pattern of a tensor name that only such files have.
        takes: the members that can load such files; empty if there is no such network here.
        rules: (pattern, replacement), applied to every name in order. Empty if the names are those used here.
        values: (pattern of a renamed tensor, function that reorders its values).
    """

    whose: str
    sign: str
    takes: str
    rules: Rules = ()
    values: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = ()

    def known(self, names: Collection[str]) -> bool:
        """Whether these names are from such a file."""
        return any(re.search(START + self.sign, name) for name in names)

    def renamed(self, name: str, last: int) -> str:
        """A tensor's name in the file -> its name here, with the same prefix."""
        for pattern, new in self.rules:
            name = re.sub(START + pattern.replace(LAST, str(last)), new.replace(LAST, str(last)), name)
        return name

    def reordered(self, name: str, value: Tensor) -> Tensor:
        """A tensor with its values in the order used here. name: after renaming."""
        for pattern, change in self.values:
            if re.search(START + pattern, name):
                return change(value)
        return value


def from_unfold(x: Tensor) -> Tensor:
    """Merged patches in the order of `nn.Unfold` (channel, row, column) -> Swin's (column, row, channel); last axis."""
    return x.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :].flatten(-2)


def _mobilenet_v2(nested: bool) -> Rules:
    """Rules: indices of `features` and of their layers -> timm's stages, blocks and names.

    nested: a convolution, its norm and its activation form one more level, except the last, which has no activation.
    """
    rules = [(r"features\.0\.0\.", "conv_stem."), (r"features\.0\.1\.", "bn1.")]
    blocks = [(stage, i) for stage, count in enumerate((1, 2, 3, 4, 3, 3, 1)) for i in range(count)]
    for at, (stage, i) in enumerate(blocks, 1):
        words = ("dw", "pw") if at == 1 else ("pw", "dw", "pwl")
        for k, word in enumerate(words):
            inner = (f"{k}.0.", f"{k}.1.") if k < len(words) - 1 else (f"{k}.", f"{k + 1}.")
            layers = inner if nested else (f"{3 * k}.", f"{3 * k + 1}.")
            for layer, new in zip(layers, (f"conv_{word}.", f"bn{k + 1}."), strict=True):
                rules.append((re.escape(f"features.{at}.conv.{layer}") + r"(?!\d)", f"blocks.{stage}.{i}.{new}"))
    return (*rules, (r"features\.18\.0\.", "conv_head."), (r"features\.18\.1\.", "bn2."))


MAPS = (
    NameMap(  # fastreid/modeling/meta_arch/mgn.py: a Sequential up to layer3.0, the first branch goes on
        "fast-reid's MGN",
        r"b1\.1\.0\.conv1\.",
        "r50, ibn_a, se_ibn_a or their like, as it was trained",
        (
            *((rf"backbone\.{i}\.", f"trunk.{to}.") for i, to in ((0, "conv1"), (1, "bn1"), (4, "layer1"))),
            *((rf"backbone\.{i}\.", f"trunk.{to}.") for i, to in ((5, "layer2"), (6, "layer3.0"))),
            *((rf"b1\.0\.{i}\.", f"trunk.layer3.{i + 1}.") for i in range(35)),
            (r"b1\.1\.", "trunk.layer4."),
        ),
    ),
    NameMap(  # model/make_model.py, build_transformer_local: the last block and norm are trained as b1, not in base
        "TransReID with jigsaw branches",
        r"b1\.0\.attn\.qkv\.",
        "timm:vit_base_patch16_224 or timm:deit_small_patch16_224",
        (
            (r"base\.blocks\.{last}\.", "untrained.blocks.{last}."),
            (r"base\.norm\.", "untrained.norm."),
            (r"b1\.0\.", "base.blocks.{last}."),
            (r"b1\.1\.", "base.norm."),
        ),
    ),
    NameMap(
        "CLIP, as OpenAI's and CLIP-ReID's ViT",
        r"transformer\.resblocks\.0\.ln_1\.",
        "timm:vit_base_patch16_clip_quickgelu_224 for ViT-B/16",
        (
            (r"class_embedding$", "cls_token"),
            (r"positional_embedding$", "pos_embed"),
            (r"conv1\.weight$", "patch_embed.proj.weight"),
            (r"ln_pre\.", "norm_pre."),
            (r"ln_post\.", "norm."),
            (r"transformer\.resblocks\.", "blocks."),
            (r"ln_([12])\.", r"norm\1."),
            (r"attn\.in_proj_", "attn.qkv."),
            (r"attn\.out_proj\.", "attn.proj."),
            (r"mlp\.c_fc\.", "mlp.fc1."),
            (r"mlp\.c_proj\.", "mlp.fc2."),
        ),
    ),
    NameMap(
        "CLIP, as OpenAI's and CLIP-ReID's ResNet",
        r"attnpool\.positional_embedding$",
        "timm:resnet50_clip_gap for RN50",
        (
            *((rf"layer{i}\.(\d+)\.conv1\.", rf"stages.{i - 1}.\1.conv1_1x1.conv.") for i in range(1, 5)),
            *((rf"layer{i}\.(\d+)\.conv2\.", rf"stages.{i - 1}.\1.conv2_kxk.conv.") for i in range(1, 5)),
            *((rf"layer{i}\.(\d+)\.conv3\.", rf"stages.{i - 1}.\1.conv3_1x1.conv.") for i in range(1, 5)),
            *((rf"layer{i}\.(\d+)\.bn1\.", rf"stages.{i - 1}.\1.conv1_1x1.bn.") for i in range(1, 5)),
            *((rf"layer{i}\.(\d+)\.bn2\.", rf"stages.{i - 1}.\1.conv2_kxk.bn.") for i in range(1, 5)),
            *((rf"layer{i}\.(\d+)\.bn3\.", rf"stages.{i - 1}.\1.conv3_1x1.bn.") for i in range(1, 5)),
            *((rf"layer{i}\.0\.downsample\.0\.", f"stages.{i - 1}.0.shortcut.conv.conv.") for i in range(1, 5)),
            *((rf"layer{i}\.0\.downsample\.1\.", f"stages.{i - 1}.0.shortcut.conv.bn.") for i in range(1, 5)),
            (r"conv([123])\.(?=weight$)", r"stem.conv\1.conv."),
            (r"bn([123])\.(?=[bwr]\w+$)", r"stem.conv\1.bn."),
        ),
    ),
    NameMap(
        "Swin, as SOLIDER's and mmpretrain's",
        r"attn\.w_msa\.qkv\.",
        "timm:swin_tiny_patch4_window7_224 or swin_small, swin_base",
        (
            *((rf"stages\.{i}\.downsample\.", f"layers.{i + 1}.downsample.") for i in range(3)),
            (r"stages\.(\d)\.blocks\.", r"layers.\1.blocks."),
            (r"attn\.w_msa\.", "attn."),
            (r"ffn\.layers\.0\.0\.", "mlp.fc1."),
            (r"ffn\.layers\.1\.", "mlp.fc2."),
            (r"patch_embed\.projection\.", "patch_embed.proj."),
            (r"norm3\.", "norm."),
        ),
        ((r"layers\.\d\.downsample\.(norm|reduction)\.", from_unfold),),
    ),
    NameMap(  # timm has a stage's merging at its beginning since 0.9, others at the end of the stage before
        "Swin, as Microsoft's and old timm's, such as MegaDescriptor",
        r"layers\.0\.downsample\.reduction\.",
        "timm's Swin of its size and window, for MegaDescriptor-L-384 timm:swin_large_patch4_window12_384",
        tuple((rf"layers\.{i}\.downsample\.", f"layers.{i + 1}.downsample.") for i in (2, 1, 0)),
    ),
    NameMap(
        "MobileNetV2, as torchvision's",
        r"features\.1\.conv\.0\.0\.",
        "timm:mobilenetv2_100",
        _mobilenet_v2(nested=True),
    ),
    NameMap(
        "MobileNetV2, as its first release's",
        r"features\.1\.conv\.0\.weight$",
        "timm:mobilenetv2_100",
        _mobilenet_v2(nested=False),
    ),
    # Names that are used here too, for the error message if a file belongs to another network.
    NameMap("OSNet, as torchreid's", r"conv2\.0\.conv2a\.", ""),
    NameMap("SE-ResNets, as reid-strong-baseline's", r"layer1\.0\.se_module\.fc1\.", "timm:legacy_seresnet50"),
    NameMap("ResNets, as torchvision's", r"layer1\.0\.conv1\.weight$", "r50 and its relatives, or timm's ResNets"),
    NameMap("ViTs, as timm's", r"blocks\.0\.attn\.qkv\.", "timm's ViT of its size, such as vit_base_patch16_224"),
    NameMap("Swin, as timm's", r"layers\.1\.downsample\.reduction\.", "timm's Swin of its size and window"),
    NameMap("EfficientNets, as timm's", r"conv_stem\.weight$", "timm:efficientnetv2_rw_m for MiewID, or another"),
)


class Reason(NamedTuple):
    """Why a tensor of a file is not in the backbone. felt: the features of its network depend on it."""

    sign: str
    what: str
    felt: bool = False


COMPUTED = Reason(r"(relative_position_index|attn_mask|relative_coords_table)$", "computed, not learned")
REASONS = (  # the first whose sign is in the name
    COMPUTED,
    Reason(r"NL_\d\.", "non-local blocks", felt=True),
    Reason(r"(sie_embed|cv_embed)$", "embeddings of cameras or views", felt=True),
    Reason(r"semantic_embed_[wb]\.", "semantic controller", felt=True),
    Reason(r"untrained\.", "a copy that was not trained"),
    Reason(r"(text_encoder|prompt_learner|token_embedding|text_projection|ln_final|logit_scale)\b", "of texts"),
    Reason(r"b\d\.\d\.", "of another branch"),
    Reason(r"(\w*head\w*|classifier\w*|bottleneck\w*|fc\w*|neck|attnpool)\b|proj$", "of a head or classifier"),
)
ELSE = Reason("", "of another part")


def reason(name: str) -> Reason:
    """Why a tensor with this name, after renaming, is not in the backbone."""
    return next((why for why in REASONS if re.search(f"{START}(?:{why.sign})", name)), ELSE)


def ways_of(names: Collection[str]) -> list[NameMap]:
    """The naming schemes whose sign matches one of these names."""
    return [way for way in MAPS if way.known(names)]
