"""What k1 and k2 are worth on finished builds, `auto` among them, against the 20, 6 of `configs/ensemble.yaml`.

`python -m tests.benchmarks.rerank_settings RUNS [RUNS ...]`, each a folder of results whose last build has identities.
Weights, lam, power and fusion are the build's own, and so is the rule of its competition. Intervals of differences are
of the paired bootstrap over identities.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.store.store import Store
from ensemble.features.feature_bank import open_banks
from ensemble.fusion.strategy import FusionSettings, fusion_settings
from ensemble.metrics.bootstrap import difference
from ensemble.pipeline.auto_settings import settle_k
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.results.build_record import open_build
from ensemble.tune.exact_scorer import ExactScorer
from models.data.layouts import read_layout

OTHERS = ((5, 2), (7, 2), (10, 3), (14, 4), (28, 8), (40, 12), (60, 18))


def mixes_of(runs: Path) -> tuple[ExactScorer, FusionSettings, dict[str, FusionSettings], str]:
    """The judge of a build, the settings to compare with, the others by name, and what auto chose."""
    store = Store(runs)
    _, record, plan = open_build(store)
    evaluation = record.evaluations["test"]
    banks = open_banks(store, evaluation.banks)
    judge = ExactScorer([b.feats for b in banks], [b.member for b in banks], evaluation, plan.competition, "cpu")
    base = replace(fusion_settings(plan.ensemble, [b.member for b in banks]), reranker=KReciprocal())
    train = read_layout(plan.competition.layout, Path(record.data), plan.competition.skip).train
    asked = plan.ensemble.model_copy(update={"k1": "auto", "k2": "auto"})
    found, said = settle_k(asked, train)
    named = {"none": replace(base, reranker=NoReranking())}
    named |= {f"{k1}/{k2}": replace(base, reranker=KReciprocal(k1, k2)) for k1, k2 in OTHERS}
    auto = KReciprocal(int(found.k1), int(found.k2))
    return judge, base, named | {f"auto ({auto.k1}/{auto.k2})": replace(base, reranker=auto)}, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    for runs in parser.parse_args().runs:
        judge, base, named, said = mixes_of(runs)
        pids, before = np.array(judge.evaluation.query_pids), judge.totals(base)
        print(f"\n{runs.name}: {said}\n\n| k1/k2 | total | against 20/6 | 95 % of the time |\n|---|---|---|---|")
        print(f"| 20/6 | {100 * np.nanmean(before):.1f} | | |")
        for name, mix in named.items():
            after = judge.totals(mix)
            gain = difference(after, before, groups=pids)
            cells = [f"{100 * x:+.1f}" for x in (gain.mean, gain.low, gain.high)]
            print(f"| {name} | {100 * np.nanmean(after):.1f} | {cells[0]} | {cells[1]} to {cells[2]} |", flush=True)


if __name__ == "__main__":
    main()
