"""What calibrations that were learned on the folds of builds are worth on their tests: `... .calibrated RUNS ...`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs.schema import CALIBRATED, EACH_FIRST, CalibrationSettings
from ensemble.fusion.calibrated_pairs import QueryCalibrations
from ensemble.fusion.calibration import NAMES
from ensemble.fusion.strategy import FusionSettings
from ensemble.metrics.bootstrap import difference
from ensemble.rerank.registry import NoReranking
from ensemble.results.open_evaluation import open_tuned
from ensemble.tune import boards
from ensemble.tune.calibrated import pairs_of


def main(runs):
    """A line a fusion, its gain over the sum with the same re-ranking, 95 % over identities."""
    case = open_tuned(argparse.Namespace(runs=runs, build=None, evaluation="train", device="cpu"))
    folds, test = boards.problems(case, "cpu")["all"], boards.scorer_of(case, "cpu")
    pids, equal = np.array(case.evaluation.query_pids), (1.0,) * len(case.evaluation.banks)
    for mix in (FusionSettings(equal, NoReranking()), FusionSettings(equal)):
        before = test.totals(mix)
        print(f"{mix.describe()}: {100 * np.nanmean(before):.1f}")
        others = {EACH_FIRST: replace(mix, fusion=EACH_FIRST)} if mix.reranks else {}
        for name in NAMES:
            own = replace(mix, fusion=CALIBRATED, calibrating=CalibrationSettings(name=name))
            learned = QueryCalibrations((pairs_of(folds, own).fit(name, equal),))
            others[name] = replace(own, learned=learned)
        for name, other in others.items():
            gain = difference(test.totals(other), before, groups=pids)
            print(f"  {name}: {100 * gain.mean:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        print(folder)
        main(Path(folder))
