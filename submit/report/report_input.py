"""What a report is about: one recorded build, its evaluations, and where their pictures lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ReidError
from configs.schema import Plan
from configs.store.store import Store
from ensemble.features.feature_bank import FeatureBank, open_banks
from ensemble.metrics.competition_score import cameras
from ensemble.results.build_record import Evaluation, Record, describe_left_out, open_build
from models.data.layouts import read_layout
from models.data.split import UNKNOWN, Benchmark, Split
from submit.systems import System, systems_of


@dataclass(frozen=True)
class Side:
    """The n images of one list. paths: where each lies, None where it is not known. pids, camids, domains: -1 unknown.

    domain_names: what the numbers of `domains` are called; empty where the data has none.
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
class Trial:
    """One evaluation of the build: `test`, or `holdout`. labelled: whether identities are known, so that it scores."""

    name: str
    evaluation: Evaluation
    banks: list[FeatureBank]
    query: Side
    gallery: Side
    systems: tuple[System, ...]
    labels: Mapping[int, str] = field(default_factory=dict)
    camera_names: Mapping[int, str] = field(default_factory=dict)

    def person(self, pid: int) -> str:
        """What the data set calls an identity."""
        return self.labels.get(int(pid), str(pid))

    def camera(self, camid: int) -> str:
        """What the data set calls a camera."""
        return self.camera_names.get(int(camid), str(camid))

    @property
    def after(self) -> int:
        """The last system, whose lists are shown."""
        return len(self.systems) - 1

    @property
    def before(self) -> int:
        """The system before re-ranking; the last one where there is none."""
        return self.after if self.systems[-1].plain else self.after - 1

    @property
    def names(self) -> list[str]:
        """Of the systems, as the table of scores has them."""
        return [system.name for system in self.systems]

    @property
    def labelled(self) -> bool:
        """Whether there are right and wrong answers."""
        return bool(self.evaluation.query_pids)

    @property
    def cameras(self) -> bool:
        """Whether both lists tell cameras, without which no rule speaks of them."""
        return cameras(self.query.camids, self.gallery.camids) is not None


@dataclass(frozen=True)
class Subject:
    """A build opened for its report. notes: what could not be had, a sentence each."""

    store: Store
    key: str
    record: Record
    plan: Plan
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]

    def weights(self, trial: Trial) -> list[float]:
        """The members' weights in the sum, in the order of the banks."""
        return [self.plan.ensemble.weights.get(bank.member, 1.0) for bank in trial.banks]


def open_subject(store: Store, key: str | None, device: str = "auto") -> Subject:
    """The build of this key, or the last one.

    Raises:
        ResultError: there is no such build, or something it made is damaged.
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
        trials.append(Trial(name, evaluation, banks, query, gallery, tuple(systems), *texts))
    return Subject(store, key, record, plan, tuple(trials), tuple(notes))


def _find_pictures(plan: Plan, root: Path) -> tuple[Benchmark | None, list[str]]:
    """The data set's lists, or why there will be no pictures; a report without them is still one."""
    try:
        return read_layout(plan.competition.layout, root, plan.competition.skip, wanted=()), []
    except ReidError as e:
        return None, [f"no pictures are shown: {e}"]


def _lists(benchmark: Benchmark | None, name: str) -> tuple[Split | None, Split | None]:
    """The lists that hold an evaluation's query and gallery: identities held out were training's."""
    if benchmark is None:
        return None, None
    return (benchmark.train, benchmark.train) if name == "holdout" else (benchmark.query, benchmark.gallery)


def _texts(
    benchmark: Benchmark | None, lists: tuple[Split | None, Split | None], sides: tuple[Side, Side]
) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """What labels and cameras are called; nothing where the data set now numbers them otherwise than for the build."""
    if benchmark is None:
        return {}, {}
    numbered = [
        {n: (int(p), int(c)) for n, p, c in zip(s.names, s.pids, s.camids, strict=True)} for s in lists if s is not None
    ]
    then = [zip(side.names, side.pids.tolist(), side.camids.tolist(), strict=True) for side in sides]
    both = [(now[n], (p, c)) for now, side in zip(numbered, then, strict=True) for n, p, c in side if n in now]
    same = [all(now[i] == was[i] for now, was in both if was[i] != UNKNOWN) for i in (0, 1)]
    return benchmark.labels if same[0] else {}, benchmark.cameras if same[1] else {}


def _side(names: tuple[str, ...], pids: list[int], camids: list[int], split: Split | None) -> Side:
    unknown = np.full(len(names), UNKNOWN, np.int64)
    row = {name: i for i, name in enumerate(split.names)} if split is not None else {}
    paths = tuple(split.paths[row[n]] if split is not None and n in row else None for n in names)
    domains, domain_names = _domains(names, row, split)
    return Side(
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
    """Domains where the data set's lists tell them."""
    told = getattr(split, "domains", None)
    if told is None or not len(told):
        return np.full(len(names), UNKNOWN, np.int64), ()
    words = [str(told[row[n]]) if n in row else "" for n in names]
    kinds = tuple(sorted(set(words) - {""}))
    return np.array([kinds.index(w) if w else UNKNOWN for w in words], np.int64), kinds
