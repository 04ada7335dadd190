"""The input of a report: one build, its evaluations, and the paths of their pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ReidError
from configs.schema import BuildConfig
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank, open_banks
from ensemble.metrics.competition_score import cameras
from ensemble.results.build_record import Evaluation, Record, describe_left_out, open_build
from models.data.layouts import read_layout
from models.data.split import UNKNOWN, Benchmark, Split
from submit.systems import System, systems_of


@dataclass(frozen=True)
class ImageList:
    """The n images of one list.

    Attributes:
        paths: None for unknown paths.
        pids, camids, domains: -1 for unknown.
        domain_names: names of the numbers in `domains`; empty without domains.
    """

    names: tuple[str, ...]
    paths: tuple[Path | None, ...]
    pids: NDArray[np.int64]
    camids: NDArray[np.int64]
    domains: NDArray[np.int64]
    domain_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ReportedEvaluation:
    """One evaluation of the build: `test` or `holdout`."""

    name: str
    evaluation: Evaluation
    banks: list[FeatureBank]
    query: ImageList
    gallery: ImageList
    systems: tuple[System, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    camera_names: Mapping[int, str] = field(default_factory=dict)

    def person(self, pid: int) -> str:
        """The data set's name of an identity."""
        return self.labels.get(int(pid), str(pid))

    def camera(self, camid: int) -> str:
        """The data set's name of a camera."""
        return self.camera_names.get(int(camid), str(camid))

    @property
    def after(self) -> int:
        """The last system, whose lists are shown."""
        return len(self.systems) - 1

    @property
    def before(self) -> int:
        """The system before re-ranking; without re-ranking, the last system."""
        return self.after if self.systems[-1].plain else self.after - 1

    @property
    def names(self) -> list[str]:
        """Names of the systems, as in the table of scores."""
        return [system.name for system in self.systems]

    @property
    def labelled(self) -> bool:
        """Whether identities are known, so that answers are right or wrong."""
        return bool(self.evaluation.query_pids)

    @property
    def cameras(self) -> bool:
        """Whether both lists have cameras, as junk rules need."""
        return cameras(self.query.camids, self.gallery.camids) is not None


@dataclass(frozen=True)
class ReportInput:
    """A build opened for its report. notes: messages on missing parts."""

    store: Store
    key: str
    record: Record
    plan: BuildConfig
    trials: tuple[ReportedEvaluation, ...]
    notes: tuple[str, ...]

    def weights(self, trial: ReportedEvaluation) -> list[float]:
        """The members' weights in the sum, in the order of the banks."""
        return [self.plan.ensemble.weights.get(bank.member, 1.0) for bank in trial.banks]


def open_report_input(store: Store, key: str | None, device: str = "auto") -> ReportInput:
    """Open the build of this key, or the last one.

    Raises:
        ResultError: no such build, or one of its results is damaged.
    """
    key, record, plan = open_build(store, key)
    benchmark, notes = _find_pictures(plan, Path(record.data))
    notes += [describe_left_out(record.left_out)] if record.left_out else []
    trials = []
    for name, evaluation in record.evaluations.items():
        banks = open_banks(store, evaluation.banks)
        lists = _lists(benchmark, name)
        query, gallery = (
            _side(names, pids, cams, split)
            for names, pids, cams, split in zip(
                (banks[0].query_names, banks[0].gallery_names),
                (evaluation.query_pids, evaluation.gallery_pids),
                (evaluation.query_camids, evaluation.gallery_camids),
                lists,
                strict=True,
            )
        )
        systems = systems_of(store, evaluation, banks, plan.ensemble, device)
        texts = _texts(benchmark, lists, (query, gallery))
        trials.append(ReportedEvaluation(name, evaluation, banks, query, gallery, tuple(systems), *texts))
    return ReportInput(store, key, record, plan, tuple(trials), tuple(notes))


def _find_pictures(plan: BuildConfig, root: Path) -> tuple[Benchmark | None, list[str]]:
    """The data set's lists, or a message why the report has no pictures."""
    try:
        return read_layout(plan.competition.layout, root, plan.competition.skip, wanted=()), []
    except ReidError as e:
        return None, [f"no pictures are shown: {e}"]


def _lists(benchmark: Benchmark | None, name: str) -> tuple[Split | None, Split | None]:
    """The lists with an evaluation's query and gallery images; held-out ones are in the training list."""
    if benchmark is None:
        return None, None
    return (benchmark.train, benchmark.train) if name == "holdout" else (benchmark.query, benchmark.gallery)


def _texts(
    benchmark: Benchmark | None, lists: tuple[Split | None, Split | None], sides: tuple[ImageList, ImageList]
) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Names of identities and cameras; empty if the data set's numbers have changed since the build."""
    if benchmark is None:
        return {}, {}
    numbered = [
        {n: (int(p), int(c)) for n, p, c in zip(s.names, s.pids, s.camids, strict=True)} for s in lists if s is not None
    ]
    then = [zip(side.names, side.pids.tolist(), side.camids.tolist(), strict=True) for side in sides]
    both = [(now[n], (p, c)) for now, side in zip(numbered, then, strict=True) for n, p, c in side if n in now]
    same = [all(now[i] == was[i] for now, was in both if was[i] != UNKNOWN) for i in (0, 1)]
    return benchmark.labels if same[0] else {}, benchmark.cameras if same[1] else {}


def _side(names: tuple[str, ...], pids: list[int], camids: list[int], split: Split | None) -> ImageList:
    unknown = np.full(len(names), UNKNOWN, np.int64)
    row = {name: i for i, name in enumerate(split.names)} if split is not None else {}
    paths = tuple(split.paths[row[n]] if split is not None and n in row else None for n in names)
    domains, domain_names = _domains(names, row, split)
    return ImageList(
        names,
        paths,
        np.array(pids, np.int64) if pids else unknown,
        np.array(camids, np.int64) if camids else unknown,
        domains,
        domain_names,
    )


def _domains(
    names: tuple[str, ...], row: Mapping[str, int], split: Split | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Domains, if the data set's lists have them."""
    told = getattr(split, "domains", None)
    if told is None or not len(told):
        return np.full(len(names), UNKNOWN, np.int64), ()
    words = [str(told[row[n]]) if n in row else "" for n in names]
    kinds = tuple(sorted(set(words) - {""}))
    return np.array([kinds.index(w) if w else UNKNOWN for w in words], np.int64), kinds
