"""Any model of timm that gives a feature map, under timm's own names, so that timm's weights fit."""

from __future__ import annotations

import difflib
import warnings

import torch
from torch import nn

TRIAL = (2, 3, 64, 64)


def timm_map(*, model: str) -> nn.Module:
    """A timm model without its pooling and its classifier: HRNet (Wang et al., TPAMI 2020) by `model: hrnet_w18`.

    Weights are never fetched by timm: they come as every member's do, from `weights` in configs/members.yaml. The map
    has the model's own resolution, mostly 1 / 32 of the image's: "last stride 1" is of the ResNet family.

    Args:
        model: as `timm.list_models()` lists it.

    Returns:
        (B, 3, H, W) -> (B, C, h, w), with C as its attribute `channels`.

    Raises:
        ValueError: timm has no such model, or it gives no feature map of an image of any size.
    """
    import timm  # half a second, which only a member that names it pays

    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=5)
        raise ValueError(f"timm {timm.__version__} has no model {model!r}; near it: {', '.join(near) or 'nothing'}")
    channels = _channels(model)
    backbone: nn.Module = _create(model)
    backbone.channels = channels  # type: ignore[assignment]
    return backbone


def _create(model: str) -> nn.Module:
    import timm

    created: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, global_pool="")
    return created


def _channels(model: str) -> int:
    """C, by a trial without numbers."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = _create(model).eval()
            shape = tuple(trial(torch.empty(TRIAL)).shape)
    except (AssertionError, RuntimeError, TypeError) as e:
        raise ValueError(
            f"timm's {model!r} gives no feature map of an image of any size ({' '.join(str(e).split())[:200]}). "
            "Take a convolutional one, such as hrnet_w18"
        ) from e
    known = {getattr(trial, "num_features", None), getattr(trial, "head_hidden_size", None)}
    if len(shape) != 4 or shape[1] not in known:
        raise ValueError(
            f"timm's {model!r} gives {shape} of images {TRIAL}, which is no feature map (B, C, h, w). Take a "
            "convolutional one, such as hrnet_w18"
        )
    return shape[1]
