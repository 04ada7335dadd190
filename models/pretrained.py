"""Weights for a backbone, from torchvision, an address or a file; loading reports every tensor's fate."""

from __future__ import annotations

import urllib.error
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.hub import load_state_dict_from_url
from torchvision.models import get_weight

from configs.artifact import Address, Store, file_digest
from configs.errors import ConfigError, WeightsError
from configs.schema import Weights
from models.backbones.resnet import open_gates

ENOUGH = 0.95  # of the backbone's tensors, those named in `fresh` aside, must match
KEPT = "weights.safetensors"
ADVICE = "or train from random weights with --set recipe.pretrained=false"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a weights file and of the backbone."""

    source: str
    sha256: str
    matched: int
    fresh: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        said = f"{self.source} (SHA-256 {self.sha256[:12]}): {self.matched} tensors matched"
        for word in ("fresh", "missing", "unexpected", "reshaped"):
            names = getattr(self, word)
            said += f", {len(names)} {word}" + (f" ({', '.join(names[:3])} ...)" if names else "")
        return said

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def keep_weights(store: Store, weights: Weights) -> Path:
    """Fetch or find a weights file and keep it as safetensors; a pickle is read once, with `weights_only=True`.

    Raises:
        WeightsError: it cannot be fetched or read, its SHA-256 is another, or it would run code.
    """
    if weights.file:
        path = Path(weights.file).expanduser()
        if not path.is_file():
            raise WeightsError(f"{path}: no such weights file; mend members.NAME.weights.file, {ADVICE}")
        sha256 = file_digest(path)
        if weights.sha256 and sha256 != weights.sha256.lower():
            raise WeightsError(f"{path}: its SHA-256 is {sha256}, not {weights.sha256}; it is another file or damaged")
        address = Address("weights", path.stem, {"sha256": sha256})
        return store.get(address, lambda folder: _write(_read_file(path), folder)).path
    url = weights.url or _torchvision_url(str(weights.torchvision))
    address = Address("weights", Path(url).stem, {"url": url, "sha256": weights.sha256})
    return store.get(address, lambda folder: _write(_fetch(url), folder)).path


def load_weights(backbone: nn.Module, kept: Path, weights: Weights) -> LoadReport:
    """Put kept weights into a backbone, and say what matched.

    Raises:
        WeightsError: too little matches: these are another network's weights.
    """
    state = load_safetensors((kept / KEPT).read_bytes())
    own = backbone.state_dict()
    own = {k: v for k, v in own.items() if not k.endswith("num_batches_tracked")}
    match = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    fresh = tuple(k for k in own if k not in match and set(k.split(".")) & set(weights.fresh))
    report = LoadReport(
        source=weights.file or weights.url or str(weights.torchvision),
        sha256=file_digest(kept / KEPT),
        matched=len(match),
        fresh=fresh,
        missing=tuple(k for k in own if k not in state and k not in fresh),
        unexpected=tuple(k for k in state if k not in own),
        reshaped=tuple(k for k in state if k in own and k not in match),
    )
    wanted = len(own) - len(fresh)
    if len(match) < ENOUGH * wanted:
        raise WeightsError(
            f"{report}. {len(match)} of the {wanted} tensors wanted: these are another network's weights. Name the "
            f"right file in members.NAME.weights, {ADVICE}"
        )
    backbone.load_state_dict(match, strict=False)
    if "se" in weights.fresh:
        open_gates(backbone)
    return report


def _torchvision_url(name: str) -> str:
    try:
        url: str = get_weight(name).url
    except (ValueError, KeyError, AttributeError) as e:
        raise ConfigError(f"weights.torchvision {name!r}: torchvision has no such weights ({e})") from e
    return url


def _fetch(url: str) -> Mapping[str, Tensor]:
    """Download, checked against the hash in the file's name."""
    try:
        fetched = load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except (urllib.error.URLError, OSError, RuntimeError) as e:
        raise WeightsError(
            f"{url}: cannot be fetched ({e}). Fetch it where there is a network and name it with "
            f"--set members.NAME.weights={{file: PATH}}, {ADVICE}"
        ) from e
    return _tensors(fetched, url)


def _read_file(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return _tensors(load_safetensors(path.read_bytes()), str(path))
        return _tensors(torch.load(path, map_location="cpu", weights_only=True), str(path))
    except WeightsError:
        raise
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path}: cannot be read ({e})") from e
    except Exception as e:  # torch.load raises whatever the bytes lead it to; all of it means the same here
        raise WeightsError(f"{path}: not a plain file of weights ({' '.join(str(e).split())[:300]})") from e


def _tensors(loaded: Any, source: str) -> Mapping[str, Tensor]:
    """The state dict inside, whatever it is wrapped in, under plain names, without a classifier."""
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not any(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"{source}: holds no state dict of tensors")
    plain = {k.removeprefix("module.").removeprefix("backbone."): v for k, v in loaded.items()}
    return {
        k: v.contiguous()
        for k, v in plain.items()
        if isinstance(v, Tensor) and not k.startswith(("fc.", "classifier.", "head.")) and "num_batches" not in k
    }


def _write(state: Mapping[str, Tensor], folder: Path) -> None:
    (folder / KEPT).write_bytes(save_safetensors(dict(state)))
