"""Weights for a backbone, from torchvision, an address or a file; loading reports every tensor's fate."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.hub import download_url_to_file
from torchvision.models import get_weight

from configs.errors import ConfigError, WeightsError
from configs.schema import Weights
from configs.store.atomic_files import file_digest, write_file, write_text
from configs.store.code_version import code_version
from configs.store.store import Address, Store
from models.backbones.resnet import open_gates

ENOUGH = 0.95  # of the backbone's tensors, those named in `fresh` aside, must match
UNPACKED = 4  # times its size on disk that a weights file may take in memory; tensors are stored as they are
HUB_FILE = "model.safetensors"
KEPT, SOURCE = "weights.safetensors", "source.json"
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


def identify(weights: Weights) -> dict[str, Any]:
    """What these weights are known by, for the address of a member that starts from them: contents, and no path.

    Raises:
        WeightsError: the file is not there, or has another SHA-256 than was given.
        ConfigError: an address whose contents nothing pins.
    """
    if weights.hub:
        return {"hub": weights.hub, "revision": weights.revision, "fresh": list(weights.fresh)}
    if weights.file:
        return {"sha256": _checked(_named_file(weights.file), weights.sha256), "fresh": list(weights.fresh)}
    url = _url(weights)
    sha256 = weights.sha256 or _hash_in(url)
    if sha256 is None:
        raise ConfigError(f"weights.url {url}: no hash in the file's name; give weights.sha256 beside it")
    return {"url": url, "sha256": sha256, "fresh": list(weights.fresh)}


def keep_weights(store: Store, weights: Weights) -> Path:
    """Fetch or find a weights file and keep it as safetensors; a pickle is read once, with `weights_only=True`.

    Raises:
        WeightsError: it cannot be fetched or read, its SHA-256 is another, or it would run code.
    """
    source = weights.file or (f"{weights.hub}@{weights.revision}" if weights.hub else _url(weights))
    known = {k: v for k, v in identify(weights).items() if k != "fresh"}

    def make(folder: Path) -> None:
        path = _named_file(weights.file) if weights.file else _from_hub(weights) if weights.hub else _fetch(source)
        sha256 = _checked(path, weights.sha256 or (None if weights.hub else _hash_in(source)))
        write_file(folder / KEPT, save_safetensors(dict(_read_file(path))))
        write_text(folder / SOURCE, json.dumps({"source": source, "sha256": sha256}) + "\n")

    request = known | {"code": code_version(Path(__file__))}
    return store.get(Address("weights", name_of(weights), request), make).path


def name_of(weights: Weights) -> str:
    """What the folder of kept weights is called."""
    return weights.hub.partition("/")[2] if weights.hub else Path(weights.file or _url(weights)).stem


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
    unknown = [part for part in weights.fresh if not any(part in k.split(".") for k in own)]
    if unknown:
        raise WeightsError(f"weights.fresh names {unknown[0]!r}, of which the backbone has no part; leave it out")
    report = LoadReport(
        **json.loads((kept / SOURCE).read_text(encoding="utf-8")),
        matched=len(match),
        fresh=fresh,
        missing=tuple(k for k in own if k not in state and k not in fresh),
        unexpected=tuple(k for k in state if k not in own),
        reshaped=tuple(k for k in state if k in own and k not in match),
    )
    wanted = len(own) - len(fresh)
    if len(match) < ENOUGH * max(wanted, len(state)):
        raise WeightsError(
            f"{report}. {len(match)} of the {wanted} tensors wanted and of the {len(state)} in the file: these are "
            f"another network's weights. Name the right file in members.NAME.weights, {ADVICE}"
        )
    backbone.load_state_dict(match, strict=False)
    if "se" in weights.fresh:
        open_gates(backbone)
    return report


def _url(weights: Weights) -> str:
    if weights.url:
        return weights.url
    try:
        return str(get_weight(str(weights.torchvision)).url)
    except (ValueError, KeyError, AttributeError) as e:
        raise ConfigError(f"weights.torchvision {weights.torchvision!r}: torchvision has no such weights ({e})") from e


def _hash_in(source: str) -> str | None:
    """The beginning of its SHA-256 that a released file bears in its name: resnet50-0676ba61.pth."""
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", source)
    return found[1] if found else None


def _named_file(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; mend members.NAME.weights.file, {ADVICE}")
    return path


def _checked(path: Path, wanted: str | None) -> str:
    """The SHA-256 of a file, which must begin as wanted."""
    sha256 = file_digest(path)
    if wanted and not sha256.startswith(wanted.lower()):
        raise WeightsError(
            f"{path}: its SHA-256 is {sha256}, not {wanted}; it is another file or damaged. Replace or delete it"
        )
    return sha256


def _fetch(url: str) -> Path:
    """The file of an address in torch's own cache, downloaded if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            download_url_to_file(url, str(path), _hash_in(url), progress=False)
        except (OSError, HTTPException, RuntimeError) as e:
            raise WeightsError(
                f"{url}: cannot be fetched ({e}). Fetch it where there is a network and name it with "
                f"--set 'members.NAME.weights={{file: PATH}}', {ADVICE}"
            ) from e
    return path


def _from_hub(weights: Weights) -> Path:
    """The file of a commit in the hub's own cache, downloaded if it is not there; never any code."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(str(weights.hub), HUB_FILE, revision=weights.revision))
    except (OSError, ValueError, HfHubHTTPError) as e:
        raise WeightsError(
            f"weights.hub {weights.hub}, revision {weights.revision}: {HUB_FILE} cannot be fetched "
            f"({' '.join(str(e).split())[:200]}). Fetch it where there is a network and name it with "
            f"--set 'members.NAME.weights={{file: PATH}}', {ADVICE}"
        ) from e


def _read_file(path: Path) -> Mapping[str, Tensor]:
    most = UNPACKED * path.stat().st_size
    try:
        if path.suffix == ".safetensors":
            return _tensors(load_safetensors(path.read_bytes()), str(path), most)
        return _tensors(torch.load(path, map_location="cpu", weights_only=True), str(path), most)
    except WeightsError:
        raise
    except (OSError, SafetensorError) as e:
        raise WeightsError(f"{path}: cannot be read ({e})") from e
    except Exception as e:  # torch.load raises whatever the bytes lead it to; all of it means the same here
        raise WeightsError(f"{path}: not a plain file of weights ({_reason(e)})") from e


def _reason(error: Exception) -> str:
    """Why a file cannot be read; torch's own words advise to unpickle it, and are not passed on."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError | ValueError) and "pickle" not in text.lower():
        return text[:300]
    found = re.search(r"GLOBAL ([\w.]+)", text)
    if found is None:
        return "torch.save did not write it, or it is damaged"
    return f"it holds {found[1]}, and Python objects are never unpickled: have a state_dict saved, without the model"


def _tensors(loaded: Any, source: str, most: int) -> Mapping[str, Tensor]:
    """The state dict inside, whatever it is wrapped in, under plain names, without a classifier.

    Args:
        most: bytes that its tensors may take: views can make terabytes of one stored number.
    """
    for wrapper in ("state_dict", "model", "net"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not any(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(f"{source}: holds no state dict of tensors")
    tensors = [v for v in loaded.values() if isinstance(v, Tensor)]
    if any(v.layout != torch.strided or v.is_quantized or v.is_complex() or v.device.type != "cpu" for v in tensors):
        raise WeightsError(f"{source}: holds tensors that are not plain arrays of numbers")
    if sum(v.numel() * v.element_size() for v in tensors) > most:
        raise WeightsError(
            f"{source}: its tensors would take more than {most:,} bytes; a file of weights is not packed"
        )
    broken = [k for k, v in loaded.items() if isinstance(v, Tensor) and not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"{source}: {len(broken)} of its tensors hold NaN or infinite numbers, first {broken[0]!r}")
    plain = {k.removeprefix("module.").removeprefix("backbone."): v for k, v in loaded.items()}
    return {
        k: v.detach().clone(memory_format=torch.contiguous_format)  # two names may share one tensor
        for k, v in plain.items()
        if isinstance(v, Tensor) and not _of_classifier(k) and "num_batches" not in k
    }


def _of_classifier(name: str) -> bool:
    """Whether a tensor comes after the map: what classifies, or pools by attention. ConvNeXt's norm lies in between."""
    return name.startswith(("fc.", "classifier.", "head.", "attn_pool.")) and not name.startswith("head.norm.")
