"""What each member is worth: the score of the ensemble without it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.artifact import Address
from configs.progress import Progress
from configs.version import code_version
from ensemble.addresses import rerank_settings, retrieval_code
from ensemble.bootstrap import difference
from ensemble.metrics import Score
from ensemble.mix import mix_of
from ensemble.mix import stream as mixed
from ensemble.rule import score_stream
from submit.report.inquiry import MEASURES, Inquiry
from submit.report.subject import Subject, Trial

HERE = Path(__file__).parent
FILE = "worth.json"


@dataclass(frozen=True)
class Worth:
    """The ensemble without one member. total: in 0..1. loss: what the whole is above it, with its interval."""

    member: str
    total: float
    loss: float
    low: float
    high: float


def worths(subject: Subject, trial: Trial, whole: Inquiry, progress: Progress, device: str = "auto") -> list[Worth]:
    """A line a member, or none where there is nothing to score or nothing to leave out."""
    if not trial.labelled or len(trial.banks) < 2:
        return []
    rules = subject.plan.competition
    request = {
        "evaluation": asdict(trial.evaluation),
        "weights": subject.plan.ensemble.weights,
        "rerank": rerank_settings(subject.plan.ensemble),
        "rule": {k: getattr(rules, k) for k in ("ap", "junk", "top_k")} | rules.score.model_dump(),
        "code": retrieval_code() + code_version(HERE / "worth.py", *MEASURES),
    }

    def make(folder: Path) -> None:
        after = per_query(subject, whole.hit[-1], whole.ap[-1])
        found = []
        with progress.task(f"{trial.name}: worth of each member", len(trial.banks)) as step:
            for left_out, bank in enumerate(trial.banks):
                kept = [i for i in range(len(trial.banks)) if i != left_out]
                if not any(subject.weights(trial)[i] for i in kept):
                    continue
                score = _score(subject, trial, kept, device)
                loss = difference(
                    after, per_query(subject, score.hit_per_query, score.ap_per_query), groups=trial.query.pids
                )
                found.append(Worth(bank.member, score.total, loss.mean, loss.low, loss.high))
                step(1)
        (folder / FILE).write_text(json.dumps([asdict(w) for w in found]), encoding="utf-8")

    kept = subject.store.get(Address("worths", trial.name, request), make)
    return [Worth(**w) for w in json.loads((kept.path / FILE).read_text(encoding="utf-8"))]


def per_query(subject: Subject, hit: NDArray, ap: NDArray) -> NDArray[np.float64]:
    """(Q,) each query's share of the total, NaN where skipped."""
    weights = subject.plan.competition.score
    share: NDArray[np.float64] = weights.rank1 * hit.astype(np.float64) + weights.map * ap.astype(np.float64)
    return share


def _score(subject: Subject, trial: Trial, members: Sequence[int], device: str) -> Score:
    """The score of some members, summed and re-ranked as the build does."""
    feats, n_query = [trial.banks[i].feats for i in members], trial.banks[0].n_query
    weights, settings = [subject.weights(trial)[i] for i in members], subject.plan.ensemble
    mix = replace(mix_of(settings, [trial.banks[i].member for i in members]), weights=tuple(weights))
    blocks = mixed(mix, feats, n_query, device=device)
    return score_stream(blocks, trial.evaluation, subject.plan.competition, {})
