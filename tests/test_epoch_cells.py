"""Each loss, the spread and the rate by themselves: in the words of an epoch, and on the report's curves."""

import json
import math

import pytest

from configs.console.epoch_cells import epoch_cells, epoch_text
from submit.report.member_training import Trained, _epochs
from submit.report.plots import _epoch_curves

LINE = {"epoch": 2, "lr": 3.5e-4, "loss": 0.777, "terms": {"id": 5.07, "triplet": 0.3}, "accuracy": 0.25, "images": 64}
LINE |= {"seconds": 2.0, "apart": 0.0204}


def test_the_cells_of_an_epoch():
    want = {"loss": "0.777", "id": "5.070", "triplet": "0.300", "spread": "0.020", "lr": "3.5e-4"}
    assert epoch_cells(LINE) == want
    assert epoch_text(want) == "loss 0.777 (id 5.070, triplet 0.300), spread 0.020, lr 3.5e-4"


@pytest.mark.parametrize(("rate", "text"), [(1e-3, "1e-3"), (3.5e-5, "3.5e-5"), (1.04e-10, "1e-10"), (0.1, "1e-1")])
def test_a_rate_in_few_characters(rate, text):
    assert epoch_cells(LINE | {"lr": rate})["lr"] == text


def test_the_curves_of_the_report_are_those_of_epochs_jsonl(tmp_path):
    path = tmp_path / "epochs.jsonl"
    no_terms = {k: v for k, v in LINE.items() if k != "terms"}
    path.write_text("\n".join(json.dumps(x) for x in (LINE, no_terms, LINE | {"terms": 3})))
    epochs = _epochs(path)
    assert len(epochs) == 1, "a line that is not whole is left out"
    other = Trained("b", None, tuple(_epochs(path)), "", "", "", {})
    other.epochs[0].terms.clear()
    curves = _epoch_curves([Trained("a", None, tuple(epochs), "", "", "", {}), other])
    values = {name: value(epochs[0]) for name, value, *_ in curves}
    want = {"loss": 0.777, "loss-id": 5.07, "loss-triplet": 0.3, "spread": 0.0204, "accuracy": 25.0, "lr": 3.5e-4}
    assert values == pytest.approx(want)
    assert all(math.isnan(value(other.epochs[0])) for name, value, *_ in curves if name.startswith("loss-"))
