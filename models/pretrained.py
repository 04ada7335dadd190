"""Weights for a backbone, from torchvision, an address or a file; loading reports every tensor's fate."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
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

from configs.errors import ConfigError, WeightsError
from configs.schema import Weights
from configs.store.atomic_files import file_digest, write_file, write_text
from configs.store.code_version import code_version
from configs.store.store import Address, Store

ENOUGH = 0.95  # of the backbone's tensors, those named in `fresh` aside, must match
NAMED_ALIKE = 0.5  # of them must be in the file by name, or the file names its tensors in another way
DEEPEST = 8  # dicts in dicts of a file that are looked into
# Where a file holds two networks that fit, such as MoCo's encoder_q and encoder_k, the one under these words alone.
PLAIN_PREFIXES = {
    *(
        "state_dict",
        "model_state_dict",
        "model",
        "net",
        "network",
        "module",
        "base",
        "backbone",
        "encoder",
        "encoder_q",
    ),
    "_orig_mod",
}
UNPACKED = 4  # times its size on disk that a weights file may take in memory; tensors are stored as they are
HUB_FILE = "model.safetensors"
KEPT, SOURCE = "weights.safetensors", "source.json"
ADVICE = "or train from random weights with --set recipe.pretrained=false"


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a weights file and of the backbone.

    Attributes:
        prefix: what stands before the backbone's names in the file, such as `module.`; it is stripped.
        matched: tensors of the same name and shape, which went in.
        fresh: the backbone's, which `weights.fresh` names. missing: the backbone's, which the file has not.
        unexpected: the file's, in a module that the backbone has. reshaped: of both, in another shape.
        left_over: the file's, of other modules, such as a classifier.
    """

    source: str
    sha256: str
    prefix: str
    matched: int
    fresh: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]
    left_over: tuple[str, ...]

    def __str__(self) -> str:
        said = f"{self.source} (SHA-256 {self.sha256[:12]}): {self.matched} tensors matched"
        said += f", prefix {self.prefix!r} stripped" if self.prefix else ""
        for word in ("fresh", "missing", "unexpected", "reshaped", "left_over"):
            if names := getattr(self, word):
                said += f", {len(names)} {word.replace('_', ' ')} ({_first(names)})"
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
        return {"hub": weights.hub, "revision": weights.revision, **_reading(weights)}
    if weights.file:
        return {"sha256": _checked(_named_file(weights.file), weights.sha256), **_reading(weights)}
    url = _url(weights)
    sha256 = weights.sha256 or _hash_in(url)
    if sha256 is None:
        raise ConfigError(f"weights.url {url}: no hash in the file's name; give weights.sha256 beside it")
    return {"url": url, "sha256": sha256, **_reading(weights)}


def _reading(weights: Weights) -> dict[str, Any]:
    """What of a file's contents is taken."""
    return {"fresh": list(weights.fresh)} | ({} if weights.prefix is None else {"prefix": weights.prefix})


def keep_weights(store: Store, weights: Weights) -> Path:
    """Fetch or find a weights file and keep it as safetensors; a pickle is read once, with `weights_only=True`.

    Raises:
        WeightsError: it cannot be fetched or read, its SHA-256 is another, or it would run code.
    """
    source = weights.file or (f"{weights.hub}@{weights.revision}" if weights.hub else _url(weights))
    known = {k: v for k, v in identify(weights).items() if k not in ("fresh", "prefix")}

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
        WeightsError: too little matches; it says whether names, shapes or parts do not.
    """
    file = load_safetensors((kept / KEPT).read_bytes())
    origin = json.loads((kept / SOURCE).read_text(encoding="utf-8"))
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    unknown = [part for part in weights.fresh if not any(part in k.split(".") for k in own)]
    if unknown:
        raise WeightsError(f"weights.fresh names {unknown[0]!r}, of which the backbone has no part; leave it out")
    prefix = weights.prefix if weights.prefix is not None else _prefix(file, own, origin["source"])
    state = {k.removeprefix(prefix): v for k, v in file.items() if k.startswith(prefix)}
    match = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    fresh = tuple(k for k in own if k not in match and set(k.split(".")) & set(weights.fresh))
    modules = {k.split(".")[0] for k in own}
    unexpected = tuple(k for k in state if k not in own and k.split(".")[0] in modules)
    taken = {prefix + name for name in (*own, *unexpected)}
    report = LoadReport(
        **origin,
        prefix=prefix,
        matched=len(match),
        fresh=fresh,
        missing=tuple(k for k in own if k not in state and k not in fresh),
        unexpected=unexpected,
        reshaped=tuple(k for k in state if k in own and k not in match),
        left_over=tuple(sorted(k for k in file if k not in taken)),
    )
    _refuse_others(report, file, own)
    backbone.load_state_dict(match, strict=False)
    if "se" in weights.fresh:
        from models.backbones.resnet import open_gates  # torchvision takes a second to import

        open_gates(backbone)
    return report


def _prefix(file: Collection[str], own: Collection[str], source: str) -> str:
    """What stands before the backbone's names in the file: that under which most of them are found.

    Raises:
        WeightsError: two networks in the file fit equally well.
    """
    found = Counter(name[:at] for name in file for at in _beginnings(name) if name[at:] in own)
    best = [prefix for prefix, names in found.items() if names == max(found.values())] or [""]
    if len(best) > 1:
        plain = [prefix for prefix in best if not set(prefix.split(".")) - {""} - PLAIN_PREFIXES]
        best = plain if len(plain) == 1 else best
    if len(best) > 1:
        raise WeightsError(
            f"{source}: holds {len(best)} networks that fit, under {_first(sorted(best))}. Name one with "
            f"--set 'members.NAME.weights.prefix={sorted(best)[0]}'"
        )
    return best[0]


def _beginnings(name: str) -> Iterator[int]:
    """Where the parts of a dotted name begin."""
    yield 0
    yield from (m.end() for m in re.finditer(r"\.", name))


def _refuse_others(report: LoadReport, file: Collection[str], own: Collection[str]) -> None:
    """Raise WeightsError unless enough of the backbone went in, and enough of the file is of the backbone."""
    wanted = len(own) - len(report.fresh)
    named = report.matched + len(report.reshaped)
    advice = f"Name another file in members.NAME.weights, {ADVICE}"
    if named < NAMED_ALIKE * wanted:
        raise WeightsError(
            f"{report.source}: {named} of the backbone's {wanted} names are in it. Its names begin "
            f"{_first(sorted(file))}; the backbone's are {_first(sorted(own))}. Another network's weights have other "
            f"names; those of this one must be renamed to the backbone's. {advice}"
        )
    theirs = named + len(report.unexpected)
    if report.matched >= ENOUGH * max(wanted, theirs):
        return
    counts = f"{report}. {report.matched} of the {wanted} tensors wanted and of the {theirs} in the file"
    if report.reshaped or report.unexpected:
        raise WeightsError(f"{counts}: these are another network's weights. {advice}")
    raise WeightsError(f"{counts}: the file holds a part of this network, or a smaller one. {advice}")


def _first(names: Collection[str]) -> str:
    """The first three."""
    return ", ".join(list(names)[:3]) + (" ..." if len(names) > 3 else "")


def _url(weights: Weights) -> str:
    if weights.url:
        return weights.url
    from torchvision.models import get_weight

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
    """The tensors inside, whatever they are wrapped in: `{"state_dict": {"fc.bias": t}}` has `state_dict.fc.bias`.

    Args:
        most: bytes that its tensors may take: views can make terabytes of one stored number.
    """
    named = dict(_named(loaded)) if isinstance(loaded, Mapping) else {}
    if not named:
        raise WeightsError(f"{source}: holds no state dict of tensors")
    tensors = list(named.values())
    if any(v.layout != torch.strided or v.is_quantized or v.is_complex() or v.device.type != "cpu" for v in tensors):
        raise WeightsError(f"{source}: holds tensors that are not plain arrays of numbers")
    if sum(v.numel() * v.element_size() for v in tensors) > most:
        raise WeightsError(
            f"{source}: its tensors would take more than {most:,} bytes; a file of weights is not packed"
        )
    broken = [k for k, v in named.items() if not torch.isfinite(v).all()]
    if broken:
        raise WeightsError(f"{source}: {len(broken)} of its tensors hold NaN or infinite numbers, first {broken[0]!r}")
    return {
        k: v.detach().clone(memory_format=torch.contiguous_format)  # two names may share one tensor
        for k, v in named.items()
        if "num_batches" not in k
    }


def _named(loaded: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in dicts of dicts under its dotted name; an optimizer numbers its own, and they are left out."""
    levels: list[tuple[str, Mapping[Any, Any]]] = [("", loaded)]
    seen = {id(loaded)}  # a pickle may hold a dict in itself
    for _ in range(DEEPEST):
        below = []
        for before, level in levels:
            for key, value in level.items():
                if isinstance(key, str) and isinstance(value, Tensor):
                    yield before + key, value
                elif isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen:
                    seen.add(id(value))
                    below.append((f"{before}{key}.", value))
        levels = below
