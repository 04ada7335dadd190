"""Load weights into a backbone by the naming scheme that fits best, and report every tensor."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from configs.errors import WeightsError
from configs.schema import Weights
from models.weights.name_maps import COMPUTED, NameMap, reason, ways_of
from models.weights.positions import POSITIONS, lay_out_as
from models.weights.report import IN, Fate, LoadReport, first, refuse_others
from models.weights.sources import KEPT, SOURCE

# If a file holds two networks that fit, such as MoCo's encoder_q and encoder_k, use the one under only these words.
PLAIN_PREFIXES = {
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "_orig_mod"),
    *("base", "backbone", "encoder", "encoder_q"),
}
AS_HERE = NameMap("", "", "")


@dataclass(frozen=True)
class Reading:
    """The names of a file, read by one naming scheme.

    Attributes:
        way: the naming scheme. names: name in the file -> prefix and name here.
        prefix: the prefix with the most matches. rivals: other prefixes with as many matches.
        fits: number of tensors with the backbone's shape.
    """

    way: NameMap
    names: Mapping[str, str]
    prefix: str
    rivals: tuple[str, ...]
    fits: int


def load_weights(backbone: nn.Module, kept: Path, weights: Weights) -> LoadReport:
    """Load cached weights into a backbone, and report what matched.

    Raises:
        WeightsError: too few tensors match. The message says whether names, shapes or parts differ.
    """
    file = load_safetensors((kept / KEPT).read_bytes())
    origin = json.loads((kept / SOURCE).read_text(encoding="utf-8"))
    report, state = match(backbone, file, weights, **origin)
    refuse_others(report, file, learned(backbone))
    backbone.load_state_dict(state, strict=False)
    if "se" in weights.fresh:
        from models.backbones.resnet import open_gates  # torchvision takes a second to import

        open_gates(backbone)
    return report


def match(
    backbone: nn.Module, file: Mapping[str, Tensor], weights: Weights, source: str, sha256: str
) -> tuple[LoadReport, dict[str, Tensor]]:
    """Match a file's tensors with the backbone. A position grid takes the file's size.

    Returns:
        The report, and the state to load.

    Raises:
        WeightsError: `weights.fresh` names an unknown part of the backbone, or two networks in the file fit.
    """
    own = learned(backbone)
    unknown = [part for part in weights.fresh if not any(part in k.split(".") for k in own)]
    if unknown:
        raise WeightsError(f"weights.fresh names {unknown[0]!r}, of which the backbone has no part; leave it out")
    reading = _read_names(file, own, weights.prefix or "", source)
    begin, names = len(reading.prefix), reading.names
    here = {k: name[begin:] for k, name in names.items() if name.startswith(reading.prefix)}
    laid = {k: lay_out_as(backbone, file[k], weights.grid) for k, name in here.items() if name == POSITIONS}
    own = learned(backbone)
    fitting = {k: fitted(reading.way.reordered(n, file[k]), own[n]) for k, n in here.items() if n in own}
    state = {here[k]: value for k, value in fitting.items() if value is not None}
    left = {k: reason(names.get(k, k)) for k in file if k not in fitting}
    modules = {k.split(".")[0] for k in own}
    theirs = {k for k in left if k in here and here[k].split(".")[0] in modules and left[k] is not COMPUTED}
    fresh = tuple(k for k in own if k not in state and set(k.split(".")) & set(weights.fresh))
    missing = tuple(k for k in own if k not in here.values() and k not in fresh)
    felt = [f"without its {why.what}, which its features had" for why in left.values() if why.felt]
    report = LoadReport(
        source,
        sha256,
        prefix=reading.prefix,
        matched=len(state),
        fresh=fresh,
        missing=missing,
        unexpected=tuple(here[k] for k in file if k in theirs),
        reshaped=tuple(here[k] for k, value in fitting.items() if value is None),
        left_over=tuple(sorted(k for k in left if k not in theirs)),
        renamed=reading.way.whose,
        remarks=tuple(dict.fromkeys([*filter(None, laid.values()), *felt])),
        tensors=(
            *(
                Fate(k, here[k], tuple(v.shape), _placed(fitting[k], own[here[k]], laid.get(k, "")))
                if k in fitting
                else Fate(k, "", tuple(v.shape), left[k].what)
                for k, v in file.items()
            ),
            *(Fate("", k, tuple(own[k].shape), "fresh" if k in fresh else "missing") for k in (*fresh, *missing)),
        ),
    )
    return report, state


def _placed(value: Tensor | None, like: Tensor, laid: str) -> str:
    """The report for a tensor whose name is in the backbone."""
    if value is None:
        return f"of another shape; the backbone's is {'x'.join(map(str, like.shape))}"
    return f"{IN}: {laid}" if laid else IN


def learned(backbone: nn.Module) -> dict[str, Tensor]:
    """The backbone's tensors by name, without batch counters."""
    return {k: v for k, v in backbone.state_dict().items() if not k.endswith("num_batches_tracked")}


def fitted(value: Tensor, like: Tensor) -> Tensor | None:
    """A tensor in the shape of another; None if they differ in more than axes of length 1."""
    if [n for n in value.shape if n > 1] != [n for n in like.shape if n > 1]:
        return None
    return value.reshape(like.shape)


def _read_names(file: Mapping[str, Tensor], own: Mapping[str, Tensor], given: str, source: str) -> Reading:
    """The naming scheme by which most tensors fit. On a tie, a scheme that the file's names are typical of.

    Raises:
        WeightsError: two networks in the file fit equally well.
    """
    names = [k for k in file if k.startswith(given)]
    ways = (*(way for way in ways_of(names) if way.rules), AS_HERE)
    best = max((_by(way, names, file, own, given) for way in ways), key=lambda reading: reading.fits)
    if best.rivals:
        rivals = sorted((best.prefix, *best.rivals))
        raise WeightsError(
            f"{source}: holds {len(rivals)} networks that fit, under {first(rivals)}. Name one with "
            f"--set 'members.NAME.weights.prefix={rivals[0]}'"
        )
    return best


def _by(
    way: NameMap, names: Collection[str], file: Mapping[str, Tensor], own: Mapping[str, Tensor], given: str
) -> Reading:
    """A file's names, read by one naming scheme."""
    last = max((int(m[1]) for k in own if (m := re.match(r"blocks\.(\d+)\.", k))), default=0)
    renamed = {k: given + way.renamed(k.removeprefix(given), last) for k in names}
    prefix, *rivals = _prefixes([k.removeprefix(given) for k in renamed.values()], own)
    prefix = given + prefix
    found = {k: name.removeprefix(prefix) for k, name in renamed.items() if name.startswith(prefix)}
    fits = sum(name in own and fitted(file[k], own[name]) is not None for k, name in found.items())
    return Reading(way, renamed, prefix, tuple(given + rival for rival in rivals), fits)


def _prefixes(names: Collection[str], own: Collection[str]) -> list[str]:
    """The prefix in the file under which most of the backbone's names are found; several on a tie."""
    found = Counter(name[:at] for name in names for at in _beginnings(name) if name[at:] in own)
    best = [prefix for prefix, count in found.items() if count == max(found.values())] or [""]
    plain = [prefix for prefix in best if not set(prefix.split(".")) - {""} - PLAIN_PREFIXES]
    return plain if len(best) > 1 and len(plain) == 1 else best


def _beginnings(name: str) -> Iterator[int]:
    """The indices at which the parts of a dotted name begin."""
    yield 0
    yield from (m.end() for m in re.finditer(r"\.", name))
