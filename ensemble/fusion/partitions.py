"""Retrieval by partition: each domain is searched separately, and the images of a track are ranked as one unit.

A query's list starts with the gallery images of its own partition, by that partition's re-ranking.
The other images follow, by the summed distance without re-ranking. They fill lists longer than the partition.
To get one distance, the largest distance in the query's partition is added to that of the other images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.schema import Ensemble
from ensemble.fusion.strategy import FusionSettings, distance_stream, fusion_settings
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import spans
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import DistanceMatrices, Feats
from ensemble.results.build_record import DomainsAndTracks

ALL = "all"
BLOCK = 256  # rows at a time, as in `distance_blocks.blocks` and `rerank.blocks`


@dataclass(frozen=True)
class Partition:
    """A partition of a test.

    Attributes:
        query: rows of its queries.
        units: gallery rows of each unit: an image, or the images of a track.
    """

    name: str
    query: NDArray[np.intp]
    units: tuple[NDArray[np.intp], ...]

    @property
    def gallery(self) -> NDArray[np.intp]:
        """Its gallery rows, in the order of the units."""
        return np.concatenate([*self.units, np.empty(0, np.intp)])

    def left_out(self, every: LeftOut | None) -> LeftOut | None:
        """What its queries leave out of their lists of units; every: what all queries leave out, of the gallery.

        Raises:
            ConfigError: a unit is a track, which may hold the query.
        """
        if every is None:
            return None
        if any(len(unit) > 1 for unit in self.units):
            raise ConfigError("ensemble.tracks=mean averages a query with its own track; set ensemble.tracks=none")
        unit_of = np.full(every.n_gallery, -1)
        unit_of[self.gallery] = np.arange(len(self.units))
        mine = every.take(self.query)
        query, unit = np.repeat(np.arange(mine.n_query), mine.counts), unit_of[mine.index]
        counts = np.bincount(query[unit >= 0], minlength=mine.n_query)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        own = np.where(mine.own >= 0, unit_of[mine.own], -1)
        return LeftOut(own, indptr, unit[unit >= 0], len(self.units), mine.rules) if indptr[-1] else None

    def others(self, n_gallery: int) -> NDArray[np.intp]:
        """The gallery rows of the other partitions."""
        return np.setdiff1d(np.arange(n_gallery), self.gallery)


def make_partitions(
    query_domains: Sequence[str], gallery_domains: Sequence[str], gallery_tracks: Sequence[int], n_query: int, n: int
) -> list[Partition]:
    """The partitions of a test with Q queries and G = n - Q gallery images.

    Args:
        query_domains, gallery_domains: one per image; empty if domains are not used.
        gallery_tracks: track of each gallery image, -1 for none; empty if tracks are not used. The images of a track
            are one unit. A track in two domains is one unit in each.

    Returns:
        Partitions sorted by name. Every query is in one. A gallery image is in none if its domain has no query.
    """
    asked = np.array(query_domains or [ALL] * n_query)
    there = np.array(gallery_domains or [ALL] * (n - n_query))
    tracks = np.array(gallery_tracks or [-1] * (n - n_query))
    parts = []
    for name in sorted(set(asked.tolist())):
        rows = np.flatnonzero(there == name)
        parts.append(Partition(name, np.flatnonzero(asked == name), _units(rows, tracks[rows])))
    return parts


def partitions_of(kinds: DomainsAndTracks, n_query: int, n: int) -> list[Partition]:
    """The partitions from a record's domains and tracks."""
    return make_partitions(kinds.query_domains, kinds.gallery_domains, kinds.gallery_tracks, n_query, n)


def _units(rows: NDArray[np.intp], tracks: NDArray[np.int64]) -> tuple[NDArray[np.intp], ...]:
    """Rows grouped by track, in the order of each track's first image. An image without a track is its own unit."""
    members: dict[int, list[int]] = {}
    for row, track in zip(rows.tolist(), tracks.tolist(), strict=True):
        members.setdefault(track if track >= 0 else -1 - row, []).append(row)
    return tuple(np.array(unit, np.intp) for unit in members.values())


def mixes_of(ensemble: Ensemble, members: Sequence[str], parts: Sequence[Partition]) -> tuple[FusionSettings, ...]:
    """Fusion settings per partition: a domain's own settings have priority over the general ones."""
    own = ensemble.domain_settings
    return tuple(fusion_settings(ensemble, members, own.get(part.name)) for part in parts)


def describe(mixes: Sequence[FusionSettings], parts: Sequence[Partition], weights: Sequence[float]) -> str:
    """Text for signatures: `green:k_reciprocal(...)+normal:...`, and whether tracks are used.

    weights: the general ones. A partition with other weights shows them in the order of members: `green[1,0.5]:...`.
    """
    said = []
    for mix, part in zip(mixes, parts, strict=True):
        own = f"[{','.join(f'{w:g}' for w in mix.weights)}]" if mix.weights != tuple(weights) else ""
        said.append(f"{part.name}{own}:{mix.describe()}")
    tracks = any(len(unit) > 1 for part in parts for unit in part.units)
    return "+".join(said) + ",tracks=mean" * tracks


def name_suffix(ensemble: Ensemble) -> str:
    """Suffix of a table row's name: ` by domain`, ` by track` or ` by domain and track`."""
    asked = {"domain": ensemble.domains, "track": ensemble.tracks}
    return " by " + " and ".join(word for word, how in asked.items() if how != "none")


def blocks(
    mixes: Sequence[FusionSettings],
    feats: Sequence[Feats],
    parts: Sequence[Partition],
    n_query: int,
    device: str = "auto",
    left_out: LeftOut | None = None,
) -> Iterator[distance_blocks.Block]:
    """Stream the distances of the partitions' queries to the whole gallery: (slice of queries, (b, G) float32).

    Args:
        mixes: one per partition.
        n_query: query rows of `feats`, also those outside these partitions.
        left_out: images that are at infinity, of all query rows.
    """
    part_of = np.full(n_query, -1)
    for number, part in enumerate(parts):
        part_of[part.query] = number
    part_of = part_of[part_of >= 0]
    asked = np.sort(np.concatenate([part.query for part in parts]))
    rows = [_rows(mix, feats, part, n_query, device, left_out) for mix, part in zip(mixes, parts, strict=True)]
    gone = left_out.take(asked) if left_out else None
    for span in spans(len(part_of), BLOCK):
        dist = np.stack([next(rows[number]) for number in part_of[span]])
        if gone is not None:
            dist[gone.pairs(span)] = np.inf
        yield span, dist


def _rows(
    mix: FusionSettings,
    feats: Sequence[Feats],
    part: Partition,
    n_query: int,
    device: str,
    left_out: LeftOut | None,
) -> Iterator[NDArray[np.float32]]:
    """Yield the distances of a partition's queries to the whole gallery, (G,) each."""
    n_gallery = len(feats[0]) - n_query
    others = part.others(n_gallery)
    feats, mix = drop_unweighted(feats, mix)
    own = _own(mix, feats, part, n_query, device, left_out)
    for (_, near), (_, far) in zip(
        own, distances_to_others(mix.weights, feats, part, others, n_query, device), strict=True
    ):
        dist = np.empty((len(near), n_gallery), np.float32)
        for place, unit in enumerate(part.units):
            dist[:, unit] = near[:, place, None]
        farthest = np.where(np.isinf(near), 0, near).max(axis=1, initial=0, keepdims=True)
        dist[:, others] = far + farthest
        yield from dist


def _own(
    mix: FusionSettings,
    feats: Sequence[Feats],
    part: Partition,
    n_query: int,
    device: str,
    left_out: LeftOut | None,
) -> Iterator[distance_blocks.Block]:
    """Distances of a partition's queries to its units, (b, U)."""
    if not part.units:
        return _nothing(len(part.query))
    some = [select_features(a, part.query, part.units, n_query) for a in feats]
    return distance_stream(mix, some, len(part.query), device=device, left_out=part.left_out(left_out))


def distances_to_others(
    weights: Sequence[float],
    feats: Sequence[Feats],
    part: Partition,
    others: NDArray[np.intp],
    n_query: int,
    device: str,
) -> Iterator[distance_blocks.Block]:
    """Summed distances of a partition's queries to the images outside it, (b, O)."""
    if not len(others):
        return _nothing(len(part.query))
    apart = [select_features(a, part.query, tuple(others[:, None]), n_query) for a in feats]
    return distance_blocks.blocks(apart, len(part.query), weights=weights, device=device)


def _nothing(n_query: int) -> Iterator[distance_blocks.Block]:
    return ((rows, np.empty((rows.stop - rows.start, 0), np.float32)) for rows in spans(n_query, BLOCK))


def drop_unweighted(feats: Sequence[Feats], mix: FusionSettings) -> tuple[list[Feats], FusionSettings]:
    """Remove members with weight 0, which would cost products."""
    kept = [m for m, w in enumerate(mix.weights) if w > 0]
    learned = mix.learned.taken(kept) if mix.learned else None
    return [feats[m] for m in kept], replace(mix, weights=tuple(mix.weights[m] for m in kept), learned=learned)


def select_features(feats: Feats, query: NDArray[np.intp], units: Sequence[NDArray[np.intp]], n_query: int) -> Feats:
    """The features of some queries and units. A unit of several images has their normalised mean."""
    single = all(len(unit) == 1 for unit in units)
    if isinstance(feats, DistanceMatrices):
        if not single:
            raise ConfigError("ensemble.tracks=mean needs features; a member with distances has no mean")
        rows = np.concatenate(units)
        return DistanceMatrices(
            feats.qq[np.ix_(query, query)], feats.qg[np.ix_(query, rows)], feats.gg[np.ix_(rows, rows)]
        )
    if single:
        return feats[np.concatenate([query, n_query + np.concatenate(units)])]
    means = np.stack([feats[n_query + unit].mean(axis=0, dtype=np.float64) for unit in units])
    length = np.linalg.norm(means, axis=1, keepdims=True)
    if not (length > 0).all():
        raise ConfigError("the features of a track cancel out, so its mean has no direction; set ensemble.tracks=none")
    return np.concatenate([feats[query], (means / length).astype(np.float32)])
