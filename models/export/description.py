"""What another program must know of an exported member, as JSON beside it."""

from __future__ import annotations

from typing import Any

from models.backbones.timm_backbone import TimmBackbone
from models.extraction.open_member import TrainedMember
from models.net import Net


def describe(net: Net, trained: TrainedMember, mirrored: bool) -> dict[str, Any]:
    """The network, its images and its features."""
    member = trained.member
    mean, std = net.scale
    told = {
        "member": member.name,
        "backbone": {"name": member.backbone.name, **member.backbone.options},
        "head": {"name": member.head.name, **member.head.options},
        "size": list(trained.size),
        "colour": "RGB, levels 0 to 1, less the mean, by the deviation",
        "mean": list(mean),
        "std": list(std),
        "interpolation": trained.resampled,
        "mirrored": mirrored,
        "feature": "of length 1; the mean over the image and its mirror image" if mirrored else "of length 1",
    }
    return told | ({"timm": _created(net.backbone, trained)} if isinstance(net.backbone, TimmBackbone) else {})


def _created(backbone: TimmBackbone, trained: TrainedMember) -> dict[str, Any]:
    """How timm makes this backbone, and what it gives."""
    pooled = backbone.called != ("forward",)
    create: dict[str, Any] = {"model_name": trained.member.backbone.options["model"], "num_classes": 0}
    create |= {} if pooled else {"global_pool": ""}
    create |= {"img_size": list(trained.size)} if hasattr(backbone.model, "set_input_size") else {}
    return {
        "create_model": create,
        "call": list(backbone.called),
        "layout": backbone.layout,
        "tokens_before_patches": backbone.prefix,
    }
