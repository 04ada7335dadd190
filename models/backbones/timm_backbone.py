"""timm models as backbones: models with a feature map, or with patch tokens. They keep timm's names for weights."""

from __future__ import annotations

import difflib
import warnings
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones.drop_path import DropPath
from models.backbones.layers import Layers
from models.backbones.token_tail import TokenTail, token_blocks
from models.data.batches import Scale
from models.data.images import PLAIN, RESAMPLINGS
from models.net import CLASS

HEAD = "-"  # placeholder for the head among a model's parameters; no block has this name
OTHER = "take another, such as convnext_tiny, swin_tiny_patch4_window7_224 or vit_small_patch14_dinov2"


class TimmBackbone(nn.Module):
    """A timm model without its pooling and its classifier.

    A transformer's patch tokens become a map, without class and register tokens. A map with channels last, such as
    Swin's, is transposed. Dropout and timm's own stochastic depth are off, so that a step is reproducible.

    Args:
        model: timm's module, with its own names. called: its methods that compute features, in order.
        layout: of the last method's output: NCHW, NHWC or tokens.
        channels: C.
    """

    def __init__(self, model: nn.Module, called: tuple[str, ...], layout: str, channels: int) -> None:
        super().__init__()
        self.model, self.called, self.layout, self.channels = model, called, layout, channels
        self.prefix = int(getattr(model, "num_prefix_tokens", 0)) if layout == "tokens" else 0
        self.has_class = self.prefix > 0 and getattr(model, "cls_token", None) is not None
        self.scale = scale_of(model.pretrained_cfg)  # type: ignore[arg-type]
        self.own_size = tuple(model.pretrained_cfg["input_size"][1:])  # type: ignore[index]
        for module in model.modules():
            for rate in ("p", "drop_prob", "drop_rate"):
                if isinstance(getattr(module, rate, None), float):
                    setattr(module, rate, 0.0)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w)."""
        return self._map(_through(self.model, self.called, images), images)

    def fork(self, images: Tensor, what: str) -> tuple[Tensor | tuple[Tensor, Tensor], Tensor]:
        """(B, 3, H, W) -> the tensors named by `what`, and the last map (B, C, h, w).

        Args:
            what: the class token gives (B, C). A block of a plain ViT, such as `blocks.10`, gives its input: patches
                as a map (B, C, h, w), and the prefix tokens (B, P, C).
        """
        blocks = list(token_blocks(self.model))
        if what in blocks:
            of_blocks = {"indices": [blocks.index(what)], "return_prefix_tokens": True, "output_dict": True}
            given = self.model.forward_intermediates(images, **of_blocks)  # type: ignore[operator]
            (before,) = given["image_intermediates"]
            (tokens,) = given.get("image_intermediates_prefix", [before.new_empty(len(before), 0, self.channels)])
            return (before, tokens), self._map(_through(self.model, self.called[1:], given["image_features"]), images)
        if what != CLASS or not self.has_class:
            raise ValueError(f"this backbone gives no {what}; it has {'a class token' if self.has_class else 'a map'}")
        features = _through(self.model, self.called, images)
        return features[:, 0], self._map(features, images)

    def layers(self) -> Layers:
        """Layers by timm's `group_matcher`. The stem is layer 0. Other parameters, such as a last norm, are the head's.

        Raises:
            AttributeError: timm does not define layers for the model.
        """
        from timm.models import group_parameters

        every = [*self.model.named_parameters(), (HEAD, None)]
        found = group_parameters(
            SimpleNamespace(named_parameters=lambda: every),  # type: ignore[arg-type]
            self.model.group_matcher(coarse=False),  # type: ignore[operator]
            reverse=True,
        )
        top = found.pop(HEAD)
        return Layers({f"model.{name}": at for name, at in found.items()}, top)

    def undecayed(self) -> set[str]:
        """Parameters without weight decay, as timm lists them."""
        listed = self.model.no_weight_decay() if hasattr(self.model, "no_weight_decay") else ()  # type: ignore[operator]
        return {f"model.{name}" for name in listed}

    def tail(self, first: str) -> TokenTail:
        """Copies of the blocks from `first` to the last and of the norms after them, for a separate branch.

        Raises:
            ValueError: unknown block, or the model's blocks cannot run on a part of a map.
        """
        blocks = token_blocks(self.model)
        if first not in blocks:
            has = f"it has {', '.join(blocks)}" if blocks else "blocks of their own are for a resnet or a plain ViT"
            raise ValueError(f"this backbone has no block {first!r}; {has}. With fork: null mgn shares the last map")
        return TokenTail([self.get_submodule(name) for name in self.tail_names(first)])

    def tail_names(self, first: str) -> list[str]:
        """The modules that `tail` copies, in its order."""
        blocks = list(token_blocks(self.model))
        return [f"model.{name}" for name in (*blocks[blocks.index(first) :], "norm", *self.called[1:])]

    def _map(self, features: Tensor, images: Tensor) -> Tensor:
        if self.layout == "NHWC":
            return features.permute(0, 3, 1, 2)
        if self.layout == "NCHW":
            return features
        height, width = grid_of(self.model, (images.shape[2], images.shape[3]))
        return features[:, self.prefix :].transpose(1, 2).unflatten(2, (height, width))

    def resize(self, size: tuple[int, int]) -> None:
        """Adapt to images of this height and width. Position embeddings are resampled once, by timm.

        Raises:
            ValueError: the model does not support the size.
        """
        patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", None)
        if isinstance(patch, tuple) and any(side % p for side, p in zip(size, patch, strict=True)):
            near = [max(1, round(side / p)) * p for side, p in zip(size, patch, strict=True)]
            raise ValueError(f"its patches are {patch[0]}x{patch[1]} pixels, which do not fill it; {near} would fit")
        if hasattr(self.model, "set_input_size"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.model.set_input_size(img_size=size)  # type: ignore[operator]


def timm_map(*, model: str, drop_path: float = 0.0) -> TimmBackbone:
    """Any timm model: HRNet (Wang et al., TPAMI 2020) by `model: hrnet_w18`, DINOv2 by `vit_small_patch14_dinov2`.

    timm never downloads weights. They come from `weights` in configs/members.yaml, as for every member. The map has the
    model's own resolution: mostly 1 / 32 of the image, for transformers one position per patch. "Last stride 1" is for
    the ResNet family only.

    Args:
        model: a name of `timm.list_models()`. A tag after a dot names one of its releases, with its own mean.
        drop_path: timm's `drop_path_rate`.

    Returns:
        (B, 3, H, W) -> (B, C, h, w), with C as its attribute `channels`.

    Raises:
        ValueError: timm has no such model, or its output is not a map.
    """
    resampling_of(model)
    with torch.device("meta"):
        trial, pooled = _create(model)
        called, layout, channels = _kind(model, trial.eval(), pooled)
    return TimmBackbone(_create(model, drop_path)[0], called, layout, channels)


def _timm() -> Any:
    """Import timm on first use: it takes half a second, and not every build needs it."""
    import timm

    return timm


def published(backbone: nn.Module) -> nn.Module:
    """The module whose names the published weights of this backbone use."""
    return backbone.model if isinstance(backbone, TimmBackbone) else backbone


def known(model: str) -> None:
    """Raise ValueError if timm has no such model, or no such release of it."""
    if not isinstance(model, str) or not _timm().is_model(model):
        near = difflib.get_close_matches(str(model), _timm().list_models(), n=5)
        raise ValueError(f"timm {_timm().__version__} has no model {model!r}; near it: {', '.join(near) or 'nothing'}")
    name, _, tag = model.partition(".")
    tags = [full.partition(".")[2] for full in _timm().list_pretrained(f"{name}.*")]
    if tag and tag not in tags:
        raise ValueError(f"timm's {name} has no release {tag!r}; it has: {', '.join(tags) or 'none'}")


@cache
def resampling_of(model: str) -> str:
    """The filter for resizing this model's images, such as bicubic.

    Raises:
        ValueError: the filter is not supported.
    """
    known(model)
    settings = _timm().get_pretrained_cfg(model)
    asked = settings.interpolation if settings else PLAIN
    if asked not in RESAMPLINGS:
        raise ValueError(f"timm's {model!r} wants images resized by {asked!r}; there are {', '.join(RESAMPLINGS)}")
    return asked


def scale_of(settings: dict[str, Any]) -> Scale:
    """The published mean and standard deviation of a model."""
    mean, std = (tuple(float(x) for x in settings[key]) for key in ("mean", "std"))
    return mean, std  # type: ignore[return-value]


def hub_of(model: str) -> str | None:
    """The model's repository on the Hugging Face hub, such as `timm/resnet50.a1_in1k`; None if there is none."""
    found = _timm().get_pretrained_cfg(model)
    if found is None or not found.hf_hub_id:
        return None
    return f"{found.hf_hub_id}{found.architecture}.{found.tag}" if found.hf_hub_id.endswith("/") else found.hf_hub_id


def _create(model: str, drop_path: float = 0.0) -> tuple[nn.Module, bool]:
    """A model without classifier, and without pooling if timm supports that; and whether it pools."""
    if drop_path:
        return _with_drop_path(model, drop_path)
    if _norm_after_pooling(model):
        return _timm().create_model(model, pretrained=False, num_classes=0), True
    try:
        return _timm().create_model(model, pretrained=False, num_classes=0, global_pool=""), False
    except (AssertionError, TypeError, ValueError):
        return _timm().create_model(model, pretrained=False, num_classes=0), True


def _with_drop_path(model: str, rate: float) -> tuple[nn.Module, bool]:
    """The same with stochastic depth, by random numbers that the caller gives.

    Raises:
        ValueError: the model has no stochastic depth.
    """
    with torch.device("meta"):
        pooled = _create(model)[1]
    how = {} if pooled else {"global_pool": ""}
    try:
        net = _timm().create_model(model, pretrained=False, num_classes=0, drop_path_rate=rate, **how)
    except TypeError:
        net = nn.Module()
    found = [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, _timm().layers.DropPath) and child.drop_prob
    ]
    if not found:
        raise ValueError(f"timm's {model!r} has no drop path; take recipe.drop_path: 0 for it")
    for parent, name, child in found:
        setattr(parent, name, DropPath(float(child.drop_prob), child.scale_by_keep))
    return net, pooled


@cache
def _norm_after_pooling(model: str) -> bool:
    """Whether the model's last norm comes after the pooling. timm removes both together."""
    with torch.device("meta"):
        own = _timm().create_model(model, pretrained=False, num_classes=0)
    return not isinstance(getattr(own, "fc_norm", nn.Identity()), nn.Identity)


def _kind(model: str, trial: nn.Module, pooled: bool) -> tuple[tuple[str, ...], str, int]:
    """The methods to call, the layout of their output, and C: from a trial run on shapes, at the model's own size."""
    size = tuple(trial.pretrained_cfg["input_size"])  # type: ignore[index]
    images = torch.empty(2, *size)
    called: tuple[str, ...] = ("forward",)
    if pooled:
        called = ("forward_features", "fc_norm") if hasattr(trial, "fc_norm") else ("forward_features",)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape = tuple(_through(trial, called, images).shape)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError) as e:
        raise ValueError(f"timm's {model!r} gives no feature map ({' '.join(str(e).split())[:200]}); {OTHER}") from e
    widths = {getattr(trial, "num_features", None), getattr(trial, "head_hidden_size", None)}
    if len(shape) == 4 and getattr(trial, "output_fmt", "NCHW") == "NHWC" and shape[3] in widths:
        return called, "NHWC", shape[3]
    if len(shape) == 4 and shape[1] in widths:
        return called, "NCHW", shape[1]
    if len(shape) == 3 and shape[2] in widths:
        height, width = grid_of(trial, size[1:])
        if shape[1] == height * width + int(getattr(trial, "num_prefix_tokens", 0)):
            return called, "tokens", shape[2]
    raise ValueError(
        f"timm's {model!r} gives {shape} of images {tuple(images.shape)}, which is no map and no tokens of places; "
        f"{OTHER}"
    )


def _through(model: nn.Module, called: tuple[str, ...], values: Tensor) -> Tensor:
    for name in called:
        values = getattr(model, name)(values)
    return values


def grid_of(model: nn.Module, size: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of patches for an image of this height and width."""
    info: Any = getattr(model, "feature_info", None)
    stride = info[-1]["reduction"] if info else getattr(model.patch_embed, "patch_size", (1, 1))[0]
    return size[0] // stride, size[1] // stride
