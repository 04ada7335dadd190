"""Read a finished build: its rankings, features, weights and labels."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console.quoting import RUNS
from configs.console.store_options import check_runs
from configs.errors import ConfigError, DataError
from configs.schema import BuildConfig
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank, load_bank
from ensemble.metrics.competition_score import cameras
from ensemble.neighbours.distances import Feats
from ensemble.results import build_record
from ensemble.results.build_record import Evaluation, Record
from ensemble.results.ranking import Ranking, load_ranking

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class BuiltEvaluation:
    """The results for one query list and gallery. Arrays are opened on demand as memory maps.

    Attributes:
        weights: member -> its weight in the sum.
    """

    name: str
    weights: Mapping[str, float]
    record: Evaluation = field(repr=False)
    store: Store = field(repr=False)

    @cached_property
    def ranking(self) -> Ranking:
        """The ranked lists: `order` and `dist` (Q, K), `query_names`, `gallery_names`, `lists()`."""
        return load_ranking(self.store.open(self.record.ranking))

    def answers(self, query: str, most: int | None = None) -> list[tuple[str, float]]:
        """The gallery images of one query with their distances, nearest first; most: at most so many.

        Raises:
            DataError: unknown query.
        """
        names = self.ranking.query_names
        if query not in names:
            raise DataError(f"no query {query!r}; {len(names):,} are in {self.name}: {', '.join(names[:3])}, ...")
        row = names.index(query)
        found = zip(self.ranking.order[row, :most], self.ranking.dist[row, :most], strict=True)
        return [(self.ranking.gallery_names[i], float(d)) for i, d in found if i >= 0]

    def features(self, member: str) -> tuple[tuple[str, ...], Feats]:
        """One member's names (N,) and features (N, D) float32, unit rows, queries first, as a memory map.

        An external member given as distances has distances instead.

        Raises:
            ConfigError: unknown member.
        """
        bank = self._bank(member)
        return bank.query_names + bank.gallery_names, bank.feats

    @property
    def n_query(self) -> int:
        """Q: the first Q rows of the features are the queries."""
        return len(self.ranking.query_names)

    @property
    def labels(self) -> tuple[Ids, Ids, Ids | None, Ids | None]:
        """Identities and cameras of query and gallery, -1 for unknown, as `ensemble.metrics` takes them.

        Raises:
            DataError: the identities are unknown.
        """
        e = self.record
        if not e.query_pids:
            raise DataError(f"{self.name} has no identities; a build with holdout=0.2 has them in 'holdout'")
        return (
            np.array(e.query_pids),
            np.array(e.gallery_pids),
            *(cameras(e.query_camids, e.gallery_camids) or (None, None)),
        )

    def _bank(self, member: str) -> FeatureBank:
        if member not in self.record.banks:
            raise ConfigError(f"unknown member {member!r}; this build has: {', '.join(self.record.banks)}")
        key = self.record.banks[member]
        return load_bank(member, self.store.open(key), key)


@dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes:
        runs: its store.
        key: its name in the store.
        record: its build record.
        plan: its settings.
        evaluations: `test`, and `holdout` if the build has one.
        store: opens its results.
    """

    runs: Path
    key: str
    record: Record = field(repr=False)
    plan: BuildConfig = field(repr=False)
    evaluations: Mapping[str, BuiltEvaluation]
    store: Store = field(repr=False)

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.runs / self.key

    def fold_features(self, member: str) -> list[tuple[tuple[str, ...], Feats]]:
        """Names and features of the training images of each fold, by the member that was trained without them.

        Features of different folds come from different networks and cannot be compared.

        Raises:
            ConfigError: unknown member, or a build without folds.
        """
        if self.record.folds is None:
            raise ConfigError(f"{self.key} has no folds; build with folds=5")
        found = []
        for fold in self.record.folds.folds:
            if member not in fold.banks:
                raise ConfigError(f"unknown member {member!r}; this build has: {', '.join(fold.banks)}")
            bank = load_bank(member, self.store.open(fold.banks[member]), fold.banks[member])
            found.append((bank.gallery_names, bank.feats))
        return found

    @property
    def command(self) -> str:
        """The command line that makes this build."""
        return self.record.command


def open_build(runs: str | os.PathLike[str] = RUNS, build: str | None = None) -> Build:
    """Open a finished build.

    Args:
        runs: the folder of results.
        build: its key, such as `builds/drawn-0123456789ab`. None: the last build.

    Raises:
        ResultError: no such folder, no such build, or a damaged build.
    """
    folder = Path(runs)
    check_runs(folder)
    store = Store(folder.absolute(), lambda text: print(text, file=sys.stderr), lends=True)
    key, record, plan = build_record.open_build(store, build)
    weights = plan.ensemble.weights
    evaluations = {
        name: BuiltEvaluation(name, {m: weights.get(m, 1.0) for m in e.banks}, e, store)
        for name, e in record.evaluations.items()
    }
    return Build(store.root, key, record, plan, evaluations, store)
