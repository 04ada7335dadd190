"""What is written down of an epoch."""

import json

import pytest

from models.training.epoch_metrics import EpochMetrics, Point


def test_sums_become_means_over_the_images():
    sums = EpochMetrics(3, lr=0.1, loss=12.0, terms={"id": 8.0, "triplet": 4.0}, accuracy=3.0, images=4, apart=2.0)
    done = sums.done(7.5)
    assert (done.loss, done.terms, done.accuracy) == (3.0, {"id": 2.0, "triplet": 1.0}, 0.75)
    assert (done.apart, done.seconds, done.images, done.lr, done.epoch) == (0.5, 7.5, 4, 0.1, 3)


def test_a_line_an_epoch_and_none_of_half_of_one():
    half = EpochMetrics(2, loss=1.0, images=2)
    point = Point().finished(EpochMetrics(1, loss=2.0, images=1).done(1.0)).within(5, half)
    assert (point.epoch, point.batch, point.sums) == (1, 5, half) and str(point) == "epoch 1 and 5 batches"
    (line,) = point.text.splitlines()
    assert json.loads(line)["loss"] == pytest.approx(2.0) and str(point.finished(half)) == "epoch 2"
