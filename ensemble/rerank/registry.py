"""The table of re-rankers. A new re-ranker is a class in its own file and an entry here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol

from configs.errors import ConfigError
from configs.schema import DomainSettings, Ensemble
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distance_blocks import Block, Ranked
from ensemble.neighbours.distances import Feats
from ensemble.rerank.ca_jaccard import CAJaccard
from ensemble.rerank.k_reciprocal_encoding import KReciprocal


class Reranker(Protocol):
    """An entry: a frozen dataclass. Its fields are its options, each with a default. A bad value is a ValueError.

    `given` are keyword arguments of `ensemble.neighbours.nearest`: weights, penalties, device. Where a query's list
    leaves images out, left_out is one of them: streams have infinity there.
    With `grouped = True` in the class, it reads neighbours by group: `nearest(..., groups=cameras)`.

    Attributes:
        searched: option -> values that `ensemble.tune` tries, in the order of its line searches.
        known: sets of options that won competitions; tuning tries each set.
    """

    searched: ClassVar[Mapping[str, tuple[Any, ...]]]
    known: ClassVar[tuple[Mapping[str, Any], ...]]

    def neighbours_read(self, n: int) -> int:
        """Neighbours needed per image, for n images. With 0, `neighbours` is None."""

    def lists(self, neighbours: Any, feats: Sequence[Any], n_query: int, *, top_k: int | None, **given: Any) -> Ranked:
        """The first top_k gallery images per query: order (Q, K) int32, dist (Q, K) float32."""

    def stream(self, neighbours: Any, feats: Sequence[Any], n_query: int, **given: Any) -> Iterator[Block]:
        """Distances to the whole gallery as pairs (slice of queries, (b, G) float32). `lists` sorts by them."""


@dataclass(frozen=True)
class NoReranking:
    """The summed distances, unchanged."""

    searched: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    known: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    def neighbours_read(self, n: int) -> int:
        """None."""
        return 0

    def lists(self, neighbours: None, feats: Sequence[Feats], n_query: int, **given: Any) -> Ranked:
        """See `Reranker`."""
        return distance_blocks.rank(feats, n_query, **given)

    def stream(self, neighbours: None, feats: Sequence[Feats], n_query: int, **given: Any) -> Iterator[Block]:
        """See `Reranker`."""
        return distance_blocks.blocks(feats, n_query, **given)


RERANKERS: dict[str, type[Reranker]] = {"k_reciprocal": KReciprocal, "ca_jaccard": CAJaccard, "none": NoReranking}
Jaccard = KReciprocal | CAJaccard  # those whose distance is (1 - lam) J + lam s


def is_grouped(row: Reranker | type[Reranker]) -> bool:
    """Whether it reads neighbours by group."""
    return bool(getattr(row, "grouped", False))


def reranker_of(ensemble: Ensemble, own: DomainSettings | None = None) -> Reranker:
    """The re-ranker of a plan, with its options; own: settings of one domain.

    An option stands beside the name, `rerank: {name: NAME, OPTION: value}`, or is a key of `ensemble`, such as k1.
    An option beside the name has priority. A domain's options have priority over the general ones.

    Raises:
        ConfigError: unknown re-ranker, unknown option, or invalid value.
    """
    named = own.rerank if own and own.rerank else ensemble.rerank
    if named.name not in RERANKERS:
        known = ", ".join(RERANKERS)
        raise ConfigError(f"unknown re-ranker {named.name!r}; ensemble/rerank/registry.py has: {known}")
    row = RERANKERS[named.name]
    names = [field.name for field in fields(row)]  # type: ignore[arg-type]
    for option in named.options:
        if option not in names:
            has = ", ".join(names) or "none"
            raise ConfigError(f"re-ranker {named.name!r} has no option {option!r}; it has: {has}")
    values = {name: value for name, value in ensemble if name in names}
    values |= ensemble.rerank.options if ensemble.rerank.name == named.name else {}
    values |= {name: value for name, value in own or () if name in names and value is not None}
    values |= named.options if own and own.rerank else {}
    try:
        return row(**values)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"re-ranker {named.name!r}: {e}") from e


def name_of(reranker: Reranker) -> str:
    """Its name in the table."""
    return next(name for name, row in RERANKERS.items() if type(reranker) is row)


def options_of(reranker: Reranker) -> dict[str, Any]:
    """Its options by name."""
    return asdict(reranker)  # type: ignore[call-overload]
