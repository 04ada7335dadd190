"""The table of clustering methods. A new method is a class in its own file and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol

from numpy.typing import ArrayLike

from configs.errors import ConfigError
from ensemble.clusters.average import Average
from ensemble.clusters.connected import Connected
from ensemble.clusters.density import Dbscan
from ensemble.clusters.pair_graph import Labels, PairGraph


class Method(Protocol):
    """An entry: a frozen dataclass. Its fields are its options, each with a default. A bad value is a ValueError."""

    @property
    def threshold(self) -> float:
        """Largest distance, 0 to below 1; what it is measured between is the method's."""

    def labels(self, graph: PairGraph, known: ArrayLike | None = None) -> Labels:
        """(N,) clusters, numbered from 0 by their lowest image; every image has one.

        Args:
            graph: the distances; a pair that it lacks is at distance 1.
            known: (N,) identities, -1 for unknown. Images of one identity are in one cluster, and no cluster has two
                identities; an unknown image joins one of them, or founds a cluster with others.

        Raises:
            ValueError: the method takes no known identities.
        """


METHODS: dict[str, type[Method]] = {"average": Average, "connected": Connected, "dbscan": Dbscan}


def method_of(name: str, options: Mapping[str, Any]) -> Method:
    """The method of this name with its options.

    Raises:
        ConfigError: unknown method, unknown option, or a bad value.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; ensemble/clusters/registry.py has: {', '.join(METHODS)}")
    row = METHODS[name]
    names = [field.name for field in fields(row)]  # type: ignore[arg-type]
    for option in options:
        if option not in names:
            raise ConfigError(f"method {name!r} has no option {option!r}; it has: {', '.join(names)}")
    try:
        return row(**options)
    except (ValueError, TypeError) as e:
        raise ConfigError(f"method {name!r}: {e}") from e


def describe(method: Method) -> str:
    """`average(threshold=0.4)`, for signatures."""
    name = next(name for name, row in METHODS.items() if type(method) is row)
    options = ",".join(f"{k}={v:g}" for k, v in asdict(method).items())  # type: ignore[call-overload]
    return f"{name}({options})"
