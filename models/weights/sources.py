"""Sources of weights: torchvision, a URL, the Hugging Face hub or a file. Identify them, and cache a copy."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from safetensors.torch import save as save_safetensors
from torch.hub import download_url_to_file

from configs.errors import ConfigError, WeightsError
from configs.schema import Weights
from configs.store.atomic_files import file_digest, write_file, write_text
from configs.store.code_version import code_version
from configs.store.store import Address, Store
from models.weights import read_file
from models.weights.read_file import read_tensors

HUB_FILE = "model.safetensors"
KEPT, SOURCE = "weights.safetensors", "source.json"
ADVICE = "or train from random weights with --set recipe.pretrained=false"


def identify(weights: Weights) -> dict[str, Any]:
    """Identify weights by their contents, not by a path. It is part of the address of a member that uses them.

    Raises:
        WeightsError: the file does not exist, or its SHA-256 is not the given one.
        ConfigError: a URL without a hash of its contents.
    """
    if weights.hub:
        return {"hub": weights.hub, "revision": weights.revision, **_reading(weights)}
    if weights.file:
        return {"sha256": _checked(_named_file(weights.file), weights.sha256), **_reading(weights)}
    url = _url(weights)
    sha256 = weights.sha256 or _hash_in(url)
    if sha256 is None:
        raise ConfigError(f"weights.url {url}: no hash in the file's name; give weights.sha256 beside it")
    return {"url": url, "sha256": sha256, **_reading(weights)}


def _reading(weights: Weights) -> dict[str, Any]:
    """The settings that select what is loaded from a file."""
    given = {"prefix": weights.prefix, "grid": weights.grid and list(weights.grid)}
    return {"fresh": list(weights.fresh)} | {key: value for key, value in given.items() if value is not None}


def keep_weights(store: Store, weights: Weights) -> Path:
    """Download or find a weights file and cache it as safetensors. A pickle is read once, with `weights_only=True`.

    Raises:
        WeightsError: the file cannot be fetched or read, its SHA-256 is wrong, or it would run code.
    """
    source = weights.file or (f"{weights.hub}@{weights.revision}" if weights.hub else _url(weights))
    known = {k: v for k, v in identify(weights).items() if k not in ("fresh", "prefix", "grid")}

    def make(folder: Path) -> None:
        path = _named_file(weights.file) if weights.file else _from_hub(weights) if weights.hub else _fetch(source)
        sha256 = _checked(path, weights.sha256 or (None if weights.hub else _hash_in(source)))
        write_file(folder / KEPT, save_safetensors(dict(read_tensors(path))))
        write_text(folder / SOURCE, json.dumps({"source": source, "sha256": sha256}) + "\n")

    request = known | {"code": code_version(Path(__file__), Path(read_file.__file__))}
    return store.get(Address("weights", name_of(weights), request), make).path


def name_of(weights: Weights) -> str:
    """The name in the address of cached weights."""
    return weights.hub.partition("/")[2] if weights.hub else Path(weights.file or _url(weights)).stem


def _url(weights: Weights) -> str:
    if weights.url:
        return weights.url
    from torchvision.models import get_weight  # torchvision takes a second to import

    try:
        return str(get_weight(str(weights.torchvision)).url)
    except (ValueError, KeyError, AttributeError) as e:
        raise ConfigError(f"weights.torchvision {weights.torchvision!r}: torchvision has no such weights ({e})") from e


def _hash_in(source: str) -> str | None:
    """The beginning of the SHA-256 in the name of a released file, such as resnet50-0676ba61.pth."""
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", source)
    return found[1] if found else None


def _named_file(name: str) -> Path:
    path = Path(name).expanduser()
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; mend members.NAME.weights.file, {ADVICE}")
    return path


def _checked(path: Path, wanted: str | None) -> str:
    """The SHA-256 of a file, which must begin with `wanted`."""
    sha256 = file_digest(path)
    if wanted and not sha256.startswith(wanted.lower()):
        raise WeightsError(
            f"{path}: its SHA-256 is {sha256}, not {wanted}; it is another file or damaged. Replace or delete it"
        )
    return sha256


def _fetch(url: str) -> Path:
    """The file of a URL in torch's own cache; downloaded if missing."""
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
    """The file of a commit in the hub's own cache; downloaded if missing. No code is downloaded."""
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
