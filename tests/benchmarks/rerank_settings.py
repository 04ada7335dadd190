"""What k1 and k2 are worth on finished builds, `auto` among them, against the 20, 6 of `configs/ensemble.yaml`.

CA-Jaccard too, where cameras are known: `ca k1_intra/k1_inter/k2_intra/k2_inter`.

`python -m tests.benchmarks.rerank_settings RUNS [RUNS ...]`, each a folder of results whose last build has identities.
Weights, lam, power and fusion are the build's own, and so is the rule of its competition. Intervals of differences are
of the paired bootstrap over identities. Builds that ask the same queries, such as one of each seed, are shown together
too: there an identity's queries of all builds are drawn together.
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
from ensemble.rerank.registry import CAJaccard, KReciprocal, NoReranking
from ensemble.results.build_record import all_camids, open_build
from ensemble.tune.exact_scorer import ExactScorer
from models.data.layouts import read_layout

OTHERS = ((5, 2), (7, 2), (10, 3), (14, 4), (28, 8), (40, 12), (60, 18))
CAMERA_AWARE = ((5, 20, 3, 3), (5, 20, 2, 4), (3, 10, 2, 2), (2, 7, 2, 2), (2, 7, 1, 2))


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
    if (all_camids(evaluation) >= 0).any():
        named |= {f"ca {'/'.join(map(str, own))}": replace(base, reranker=CAJaccard(*own)) for own in CAMERA_AWARE}
    auto = KReciprocal(int(found.k1), int(found.k2))
    return judge, base, named | {f"auto ({auto.k1}/{auto.k2})": replace(base, reranker=auto)}, said


def table(title: str, pids: np.ndarray, before: np.ndarray, after: dict[str, np.ndarray]) -> str:
    """before, after: (Q,) totals by queries of these identities, with 20/6 and with the others."""
    lines = [title, "", "| k1/k2 | total | against 20/6 | 95 % of the time |", "|---|---|---|---|"]
    lines.append(f"| 20/6 | {100 * np.nanmean(before):.1f} | | |")
    for name, totals in after.items():
        gain = difference(totals, before, groups=pids)
        cells = [f"{100 * x:+.1f}" for x in (gain.mean, gain.low, gain.high)]
        lines.append(f"| {name} | {100 * np.nanmean(totals):.1f} | {cells[0]} | {cells[1]} to {cells[2]} |")
    return "\n".join(["", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    found = []
    for runs in parser.parse_args().runs:
        judge, base, named, said = mixes_of(runs)
        pids, before = np.array(judge.evaluation.query_pids), judge.totals(base)
        after = {name: judge.totals(mix) for name, mix in named.items()}
        print(table(f"{runs.name}: {said}", pids, before, after), flush=True)
        found.append((pids, before, after))
    pids, _, first = found[0]
    if len(found) > 1 and all(np.array_equal(p, pids) and a.keys() == first.keys() for p, _, a in found):
        together = {name: np.concatenate([after[name] for _, _, after in found]) for name in first}
        everyone, before = (np.concatenate([one[part] for one in found]) for part in (0, 1))
        print(table(f"all {len(found)}", everyone, before, together))


if __name__ == "__main__":
    main()
