"""How many settings a minute the tuning tries, on drawn features at Market-1501's size by five members.

`python -m tests.benchmarks.tune [--size 3368x15913] [--members 5] [--dim 2048] [--rounds 1]`
The search is one that `ensemble.tune` makes, on half of the persons: settings at equal weights, greedy selection, line
searches. Beside it what one change costs by itself, and what an exact score of one mix costs.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from configs.schema import EACH_FIRST, Competition
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.results.build_record import Evaluation
from ensemble.tune.cross_fitting import split_persons
from ensemble.tune.ensemble_selection import SearchSpace, hill_climb, select_and_climb
from ensemble.tune.exact_scorer import ExactScorer
from ensemble.tune.fast_scorer import FastScorer
from tests.benchmarks.figure import drawn_labels, memory
from tests.benchmarks.retrieval import features

RULE = Competition(name="naic", layout="naic2020", format="naic_json", top_k=200, ap="hits", junk="none")


def seconds(work: Callable[[], object]) -> float:
    """Of one run."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def judge_of(size: str, members: int, dim: int) -> ExactScorer:
    """Members that agree on who is who and differ in noise, the later the more."""
    n_query, n_gallery = map(int, size.split("x"))
    n = n_query + n_gallery
    feats = [features(n, dim, m, spread=2.5 + 0.5 * m) for m in range(members)]
    pids, _ = drawn_labels(n)
    unknown = [-1] * n
    evaluation = Evaluation(
        {}, "", None, pids[:n_query].tolist(), unknown[:n_query], pids[n_query:].tolist(), unknown[n_query:]
    )
    return ExactScorer(feats, [f"m{m}" for m in range(members)], evaluation, RULE, "cpu")


def changes(trial: FastScorer, members: int) -> dict[str, float]:
    """Seconds of one change, medians."""
    equal = (1.0,) * members
    kinds: dict[str, list[FusionSettings]] = {
        "lam": [FusionSettings(equal, KReciprocal(lam=x)) for x in (0.31, 0.32, 0.33, 0.34, 0.35)],
        "k1 or k2": [
            FusionSettings(equal, KReciprocal(k1=k1, k2=k2)) for k1, k2 in ((11, 3), (13, 3), (15, 4), (17, 4), (25, 7))
        ],
        "weights": [FusionSettings((1.0, x, *equal[2:])) for x in (0.91, 0.82, 0.73, 0.64, 0.55)],
        "weights, no re-ranking": [
            FusionSettings((1.0, x, *equal[2:]), NoReranking()) for x in (0.92, 0.83, 0.74, 0.65, 0.56)
        ],
        "k1 or k2, each first": [FusionSettings(equal, KReciprocal(k1=k1), fusion=EACH_FIRST) for k1 in (11, 13, 15)],
        "weights or lam, each first": [
            FusionSettings((1.0, x, *equal[2:]), fusion=EACH_FIRST) for x in (0.93, 0.84, 0.75, 0.66)
        ],
    }
    out = {}
    for kind, mixes in kinds.items():
        times = [seconds(lambda mix=mix: trial.totals(mix)) for mix in mixes]  # type: ignore[misc]
        out[kind] = statistics.median(times[1:])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="3368x15913", help="QUERYxGALLERY")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=1, help="of line searches")
    chosen = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    small = judge_of("200x400", chosen.members, 64)
    FastScorer(small, 51).totals(FusionSettings((1.0,) * chosen.members))  # loads the kernels
    FastScorer(small, 51).totals(FusionSettings((1.0,) * chosen.members, fusion=EACH_FIRST))
    judge = judge_of(chosen.size, chosen.members, chosen.dim)
    before, grid, base = (
        memory("VmRSS"),
        SearchSpace(rounds=chosen.rounds, steps=5),
        FusionSettings((1.0,) * chosen.members),
    )
    begun = time.perf_counter()
    trial = FastScorer(judge, grid.most_neighbours)
    print(f"candidates: {time.perf_counter() - begun:.1f} s", flush=True)
    for kind, one in changes(trial, chosen.members).items():
        print(f"another {kind}: {one:.3f} s", flush=True)
    tried, spent = len(trial.kept), trial.seconds
    half, _ = split_persons(np.array(judge.evaluation.query_pids), np.ones(len(judge.evaluation.query_pids), bool), 0)

    def score(mix: FusionSettings) -> float:
        return float(trial.totals(mix)[half].mean())

    found = select_and_climb(score, hill_climb(score, base, grid), grid)
    tried, spent = len(trial.kept) - tried, trial.seconds - spent
    print(f"a search of {tried} settings: {spent:.1f} s, {60 * tried / spent:.0f} a minute", flush=True)
    print(f"memory above the features, at most: {(memory('VmHWM') - before) / 2**30:.2f} GiB", flush=True)
    print(f"found {found}, {100 * score(found):.2f} against {100 * score(base):.2f}", flush=True)
    print(f"exact score of one mix: {seconds(lambda: judge.totals(found)):.1f} s")
    off = np.abs(judge.totals(found) - trial.totals(found))
    print(f"tried against exact: mean {off.mean():.2e}, {100 * (off > 1e-9).mean():.2f} % of queries differ")


if __name__ == "__main__":
    main()
