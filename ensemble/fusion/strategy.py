"""How members become one stream of distances: their weights, the re-ranking, and what of a member is summed when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from configs.errors import ConfigError
from configs.schema import CALIBRATED, EACH_FIRST, SUM_FIRST, CalibrationSettings, DomainSettings, Ensemble
from ensemble.fusion.calibrated_pairs import QueryCalibrations, calibrated
from ensemble.kernels.left_out import LeftOut
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import Feats
from ensemble.neighbours.knn import Neighbours, nearest
from ensemble.neighbours.similarity import Penalties
from ensemble.rerank.registry import KReciprocal, NoReranking, Reranker, is_grouped, name_of, options_of, reranker_of


@dataclass(frozen=True)
class FusionSettings:
    """One way to fuse M members.

    Attributes:
        weights: (M,), >= 0, not all 0.
        reranker: a row of `ensemble/rerank/registry.py`, with its options.
        fusion: sum_then_rerank re-ranks the summed distances; rerank_then_sum sums what it makes of each member's;
            calibrated sums the log-odds of what it makes of each member's.
        camera: added to the distance of two images of one camera, in the sum or in each.
        whitened: the shrinkage of features that tuning whitened by query and gallery; a build whitens beforehand.
        group_by: what the groups are that the re-ranker goes by, if it does: camera or domain.
        calibrating: how the log-odds are learned, of fusion calibrated.
        learned: what was learned; distances of fusion calibrated need it.
    """

    weights: tuple[float, ...]
    reranker: Reranker = field(default_factory=KReciprocal)
    fusion: str = SUM_FIRST
    camera: float = 0.0
    whitened: float | None = None
    group_by: str = "camera"
    calibrating: CalibrationSettings = field(default_factory=CalibrationSettings)
    learned: QueryCalibrations | None = field(default=None, repr=False)

    @property
    def reranks(self) -> bool:
        """Whether anything is done to the summed distances."""
        return not isinstance(self.reranker, NoReranking)

    @property
    def each_first(self) -> bool:
        """Whether every member has distances of its own, re-ranked if anything is."""
        if self.calibrated:
            return True
        return self.reranks and self.fusion == EACH_FIRST and sum(w > 0 for w in self.weights) > 1

    @property
    def calibrated(self) -> bool:
        """Whether log-odds are summed."""
        return self.fusion == CALIBRATED

    @property
    def grouped(self) -> bool:
        """Whether neighbours are found by group."""
        return is_grouped(self.reranker)

    def describe(self) -> str:
        """`k_reciprocal(k1=20,k2=6,lam=0.3,power=2)`, for signatures; fusion and penalty where not the usual."""
        options = ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.options.items())
        penalty = f",camera_penalty={self.camera:g}" if self.camera else ""
        each = f",{EACH_FIRST}" if self.each_first else ""
        each = f",{CALIBRATED}({self.calibrating.name},pool={self.calibrating.pool})" if self.calibrated else each
        white = f",whiten=test({self.whitened:g})" if self.whitened is not None else ""
        groups = f",group_by={self.group_by}" if self.grouped and self.group_by != "camera" else ""
        return name_of(self.reranker) + (f"({options})" if options else "") + groups + each + penalty + white

    @property
    def options(self) -> dict[str, Any]:
        """Of the re-ranker, by name."""
        return options_of(self.reranker)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {"weights": list(self.weights), "rerank": name_of(self.reranker)}
        told["options"] = self.options
        told |= {"fusion": self.fusion, "camera": self.camera}
        told |= {"calibration": self.calibrating.model_dump()} if self.calibrated else {}
        return told | ({"whiten": self.whitened} if self.whitened is not None else {})

    def penalties(self, camids: ArrayLike | None) -> Penalties | None:
        """What `ensemble.neighbours` takes by that name.

        Raises:
            ConfigError: there is a penalty, and no cameras.
        """
        if not self.camera:
            return None
        if camids is None or (np.asarray(camids) < 0).all():
            raise ConfigError(f"ensemble.camera_penalty is {self.camera:g}, and no camera is known here: leave it 0")
        return [(camids, self.camera)]

    def groups(self, labels: ArrayLike | None) -> ArrayLike | None:
        """What `ensemble.neighbours.nearest` takes by that name: the labels, if the re-ranker goes by groups.

        Raises:
            ConfigError: it does, and no label is known.
        """
        if not self.grouped:
            return None
        if labels is None or (np.asarray(labels) < 0).all():
            raise ConfigError(
                f"ensemble.rerank {name_of(self.reranker)!r} goes by ensemble.group_by {self.group_by}, and no "
                f"{self.group_by} is known here: choose k_reciprocal or none"
            )
        return labels


def fusion_settings(
    ensemble: Ensemble,
    members: Sequence[str],
    own: DomainSettings | None = None,
    learned: QueryCalibrations | None = None,
) -> FusionSettings:
    """What a plan asks for of these members; `own` are one domain's settings, in the place of the general ones.

    learned: the calibrations, of fusion calibrated.

    Raises:
        ConfigError: as `ensemble.rerank.registry.reranker_of`, and for a re-ranker by groups with domains or tracks.
    """
    by_name = own.weights if own and own.weights is not None else ensemble.weights
    weights = tuple(float(by_name.get(name, 1.0)) for name in members)
    fusion = (own and own.fusion) or ensemble.fusion
    reranker = reranker_of(ensemble, own)
    if is_grouped(reranker) and (ensemble.domains, ensemble.tracks) != ("none", "none"):
        raise ConfigError(
            f"ensemble.rerank {name_of(reranker)!r} goes with domains none and tracks none: it is not built for parts"
        )
    given: dict[str, Any] = {"calibrating": ensemble.calibration, "learned": learned} if fusion == CALIBRATED else {}
    return FusionSettings(weights, reranker, fusion, ensemble.camera_penalty, group_by=ensemble.group_by, **given)


def rerank_request(ensemble: Ensemble) -> Mapping[str, Any]:
    """What a ranking depends on beside the members and their weights, for cache keys."""
    e = ensemble
    reranker = reranker_of(e)
    request: dict[str, Any] = {"name": name_of(reranker)} | options_of(reranker)
    if e.fusion != SUM_FIRST and not isinstance(reranker, NoReranking):
        request["fusion"] = e.fusion
    if e.fusion == CALIBRATED:
        request |= {"fusion": e.fusion, "calibration": e.calibration.model_dump()}
    if is_grouped(reranker) and e.group_by != "camera":
        request["group_by"] = e.group_by
    if e.camera_penalty:
        request["camera_penalty"] = e.camera_penalty
    parts: dict[str, Any] = {
        key: value for key, value in (("domains", e.domains), ("tracks", e.tracks)) if value != "none"
    }
    if parts:
        parts["domain_settings"] = {name: own.model_dump(mode="json") for name, own in e.domain_settings.items()}
    return request | parts


def leaving_out(left_out: LeftOut | None) -> dict[str, LeftOut]:
    """The keyword of searches and re-rankers; nothing where nothing is left out."""
    return {"left_out": left_out} if left_out else {}


def distance_stream(
    mix: FusionSettings,
    feats: Sequence[Feats],
    n_query: int,
    *,
    near: Neighbours | None = None,
    device: str = "auto",
    camids: ArrayLike | None = None,
    left_out: LeftOut | None = None,
    groups: ArrayLike | None = None,
) -> Iterator[distance_blocks.Block]:
    """Distances of every query to the whole gallery, exactly: (slice of queries, (b, G) float32).

    Args:
        feats: (N, D_m) unit rows each, queries first; or distances.
        near: the neighbours by the summed distance where somebody has them; else they are searched for.
        camids: (N,), -1 unknown; a penalty needs them.
        left_out: images that are at infinity.
        groups: (N,), -1 unknown; a re-ranker by groups needs them, if `near` is not given.
    """
    if mix.each_first:
        streams, weights = member_streams(mix, feats, n_query, device, camids, left_out, groups)
        return fused(mix, streams, weights)
    given: dict[str, Any] = {"penalties": mix.penalties(camids), "device": device} | leaving_out(left_out)
    k = mix.reranker.neighbours_read(len(feats[0]))
    if k and near is None:
        near = nearest(feats, k, weights=mix.weights, groups=mix.groups(groups), **given)
    return mix.reranker.stream(near, feats, n_query, weights=mix.weights, **given)


def member_streams(
    mix: FusionSettings,
    feats: Sequence[Feats],
    n_query: int,
    device: str = "auto",
    camids: ArrayLike | None = None,
    left_out: LeftOut | None = None,
    groups: ArrayLike | None = None,
) -> tuple[list[Iterator[distance_blocks.Block]], list[float]]:
    """The distances of each member that has a weight, re-ranked if the mix re-ranks; and the weights."""
    given: dict[str, Any] = {"penalties": mix.penalties(camids), "device": device} | leaving_out(left_out)
    k, read = mix.reranker.neighbours_read(len(feats[0])), mix.groups(groups)
    pairs = [(a, w) for a, w in zip(feats, mix.weights, strict=True) if w > 0]
    near = [nearest(a, k, groups=read, **given) if k else None for a, _ in pairs]
    streams = [mix.reranker.stream(n, [a], n_query, **given) for n, (a, _) in zip(near, pairs, strict=True)]
    return streams, [w for _, w in pairs]


def fused(
    mix: FusionSettings, streams: Sequence[Iterator[distance_blocks.Block]], weights: Sequence[float]
) -> Iterator[distance_blocks.Block]:
    """One stream of the streams of each member that has a weight: summed, or calibrated.

    Raises:
        ValueError: fusion calibrated, and nothing was learned.
    """
    if not mix.calibrated:
        return distance_blocks.summed(streams, weights)
    if mix.learned is None:
        raise ValueError("fusion calibrated needs what was learned on labelled pairs: FusionSettings(learned=...)")
    learned = mix.learned.taken([m for m, w in enumerate(mix.weights) if w > 0])
    return calibrated(streams, weights, learned, mix.calibrating.pool)


def rerank_each_then_sum(
    mix: FusionSettings,
    feats: Sequence[Feats],
    near: Sequence[Neighbours | None],
    n_query: int,
    weights: Sequence[float],
    device: str,
    camids: ArrayLike | None = None,
    left_out: LeftOut | None = None,
) -> Iterator[distance_blocks.Block]:
    """Every member re-ranked by its own neighbours, then summed, or calibrated and summed."""
    given: dict[str, Any] = {"penalties": mix.penalties(camids), "device": device} | leaving_out(left_out)
    streams = [mix.reranker.stream(n, [a], n_query, **given) for n, a in zip(near, feats, strict=True)]
    return fused(mix, streams, weights)
