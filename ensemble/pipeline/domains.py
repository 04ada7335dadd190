"""The domain and the track of each test image. Domains come from the table, or from the image's colours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, DataError
from configs.schema import Ensemble
from configs.store.atomic_files import write_text
from configs.store.code_version import PROJECT, code_version
from configs.store.store import Address
from ensemble.pipeline.context import BuildContext
from ensemble.results.build_record import DomainsAndTracks
from models.data.doctor.inspect_files import inspect_files
from models.data.images import how_to_skip
from models.data.split import Split, content_digest
from models.data.tracks import HINT, mixed_tracks

DOMAINS = "domains.json"
DATA = PROJECT / "models" / "data"


def find_domains_and_tracks(context: BuildContext, test: str, query: Split, gallery: Split) -> DomainsAndTracks | None:
    """The domains and tracks of one test, which are also printed; None if the build uses neither.

    Raises:
        ConfigError: as `check_domains_and_tracks`.
    """
    settings = context.config.ensemble
    if settings.domains == "none" and settings.tracks == "none":
        return None
    check_domains_and_tracks(settings, query, gallery)
    sides = [domains_of(context, f"{test}-{name}", split) for name, split in (("query", query), ("gallery", gallery))]
    tracks = gallery.tracks.tolist() if settings.tracks != "none" and gallery.tracks is not None else []
    for line in describe(sides[0], sides[1], tracks, context.config.competition.top_k):
        context.progress.say(f"{test}: {line}")
    return DomainsAndTracks(sides[0], sides[1], tracks)


def domains_of(context: BuildContext, name: str, split: Split) -> list[str]:
    """The domain of each image as `ensemble.domains` tells it; nothing where that is none.

    Args:
        name: of the list, for what is kept of looking at it.
    """
    how = context.config.ensemble.domains
    if how == "colours":
        return _seen(context, name, split)
    return list(split.domains or ()) if how == "table" else []


def seen_by(*splits: Split) -> dict[str, Any]:
    """What the domains depend on that are seen in these images."""
    code = code_version(DATA / "images.py", DATA / "crop.py", DATA / "mend.py", DATA / "doctor" / "inspect_files.py")
    return {"contents": [content_digest(split) for split in splits], "code": code}


def describe(asked: Sequence[str], there: Sequence[str], tracks: Sequence[int], top_k: int) -> list[str]:
    """Counts, and what happens to queries whose domain cannot fill a list."""
    lines = []
    counts = Counter(there)
    for name, queries in sorted(Counter(asked).items()):
        line = f"domain {name}: {queries:,} queries x {counts[name]:,} gallery images"
        if counts[name] < min(top_k, len(there)):
            line += ", fewer than a list takes: the other images follow after them, by plain distance"
        lines.append(line)
    left = [name for name in sorted(counts) if name not in set(asked)]
    lines += [f"domain {name}: no query, {counts[name]:,} gallery images that no list begins with" for name in left]
    if tracks:
        known = [t for t in tracks if t >= 0]
        lines.append(
            f"{len(set(known)):,} tracks of {len(known):,} images, {len(tracks) - len(known):,} images of none"
        )
    return lines


def check_domains_and_tracks(settings: Ensemble, query: Split, gallery: Split) -> None:
    """Refuse what this data set does not tell, before anything is trained.

    Raises:
        ConfigError: it tells no domains or tracks, or settings are for a domain that it has not.
        DataError: a track shows several identities.
    """
    if settings.domains == "table":
        for side, split in (("query", query), ("gallery", gallery)):
            if split.domains is None:
                raise ConfigError(
                    f"ensemble.domains=table: the {side} list tells no domains; layout table reads them from a column "
                    "'domain'. ensemble.domains=colours tells green from normal by looking"
                )
            without = [n for n, domain in zip(split.names, split.domains, strict=True) if not domain]
            if without:
                raise ConfigError(
                    f"ensemble.domains=table: {len(without):,} of {len(split):,} {side} images have no domain, first "
                    f"{without[0]!r}; fill the column 'domain' of the table"
                )
        there = sorted({*(query.domains or ()), *(gallery.domains or ())})
        unknown = sorted(set(settings.domain_settings) - set(there))
        if unknown:
            raise ConfigError(f"ensemble.domain_settings names {unknown[0]!r}; the table's domains: {', '.join(there)}")
    if settings.tracks != "none" and gallery.tracks is None:
        raise ConfigError(
            "ensemble.tracks=mean: this data set tells no tracks of its gallery; layout aicity reads them from "
            "test_track_id.txt, layout table from a column 'track'"
        )
    mixed = mixed_tracks(gallery) if settings.tracks != "none" else []
    if mixed:
        raise DataError(
            f"ensemble.tracks=mean: {len(mixed):,} tracks of the gallery show several identities, first that of "
            f"{mixed[0][0]!r} and {mixed[0][1]!r}; {HINT}"
        )


def _seen(context: BuildContext, name: str, split: Split) -> list[str]:
    """`green` or `normal` for every image, cached."""
    seen = seen_by(split)
    address = Address("domains", name, seen | {"contents": seen["contents"][0]})

    def make(folder: Path) -> None:
        seen = inspect_files(split.paths, context.progress)
        bad = next((one for one in seen if one.trouble), None)
        if bad is not None:
            raise DataError(f"{bad.path}: {bad.trouble}. Replace it, or {how_to_skip(bad.path)}")
        write_text(folder / DOMAINS, json.dumps([one.domain for one in seen]) + "\n")

    found: list[str] = json.loads((context.store.get(address, make).path / DOMAINS).read_text(encoding="utf-8"))
    return found
