"""TensorBoard's events, read back with its own reader, against epochs.jsonl."""

import json
import shutil

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ensemble import build
from models.tensorboard_curves import Curves


def read(folder):
    """tag -> [(step, value), ...] of all event files in a folder, nothing dropped."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=False).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def line(epoch, loss=None):
    loss = 3.0 / epoch if loss is None else loss
    terms = {"id": loss / 2, "triplet": loss / 4}
    return {
        "epoch": epoch,
        "lr": 1e-3,
        "loss": loss,
        "terms": terms,
        "accuracy": 0.5,
        "apart": 0.3,
        "images": 64,
        "seconds": 2.0,
    }


def curve(lines, value):
    return [(x["epoch"], pytest.approx(value(x), rel=1e-6)) for x in lines]


def check(folder, lines):
    """Every curve has each epoch once, in order, with the value of its line."""
    there = read(folder)
    assert set(there) == {
        "lr",
        "loss",
        "terms/id",
        "terms/triplet",
        "accuracy",
        "apart",
        "images",
        "seconds",
        "images_per_second",
    }
    for tag in ("lr", "loss", "accuracy", "apart", "images", "seconds"):
        assert there[tag] == curve(lines, lambda x, tag=tag: x[tag])
    for term in ("id", "triplet"):
        assert there[f"terms/{term}"] == curve(lines, lambda x, term=term: x["terms"][term])
    assert there["images_per_second"] == curve(lines, lambda x: x["images"] / x["seconds"])


def train(curves, metrics, done, lines):
    """What `Progress` tells of a training of these epochs."""
    curves("begun", {"kind": "members", "key": "members/r50-0123456789ab"})
    curves("begun", {"kind": "images", "key": "images/train-0"})
    curves("done", {"kind": "images", "key": "images/train-0"})
    curves("training", {"member": "r50", "epochs": 9, "done": done, "images": 64, "metrics": str(metrics)})
    for x in lines:
        curves("epoch", {"member": "r50", "epochs": 9} | x)


def test_a_killed_training_that_goes_on_has_every_epoch_once(tmp_path):
    """Four epochs were seen, the checkpoint held two: the third and fourth are measured again."""
    metrics = tmp_path / "epochs.jsonl"
    train(Curves(tmp_path / "logs"), metrics, 0, [line(e, 9.0) for e in (1, 2, 3, 4)])  # and no `close`: it was killed
    metrics.write_text("".join(json.dumps(line(e)) + "\n" for e in (1, 2, 3)))
    curves = Curves(tmp_path / "logs")
    train(curves, metrics, 2, [line(3), line(4)])
    curves("done", {"kind": "members", "key": "members/r50-0123456789ab"})
    check(tmp_path / "logs" / "r50-0123456789ab", [line(e) for e in (1, 2, 3, 4)])


def test_what_was_written_before_a_kill_is_on_disk(tmp_path):
    train(Curves(tmp_path / "logs"), tmp_path / "none", 0, [line(1), line(2)])
    check(tmp_path / "logs" / "r50-0123456789ab", [line(1), line(2)])


def test_two_trainings_at_once_have_curves_of_their_own(tmp_path):
    curves = Curves(tmp_path / "logs")
    members = {11: "r50", 12: "ibn_a"}
    for pid, name in members.items():
        curves("begun", {"kind": "members", "key": f"members/{name}-0", "pid": pid})
    for pid, name in members.items():
        told = {"member": name, "epochs": 9, "done": 0, "images": 64, "metrics": str(tmp_path / "none"), "pid": pid}
        curves("training", told)
    for epoch in (1, 2):
        for pid in members:
            curves("epoch", {"pid": pid, "epochs": 9} | line(epoch, loss=pid))
    curves("done", {"kind": "members", "key": "members/r50-0", "pid": 11})
    curves("epoch", {"pid": 12, "epochs": 9} | line(3, loss=12))
    curves.close()
    assert read(tmp_path / "logs" / "r50-0")["loss"] == [(1, 11), (2, 11)]
    assert read(tmp_path / "logs" / "ibn_a-0")["loss"] == [(1, 12), (2, 12), (3, 12)]


def test_a_build_writes_the_curves_of_kept_members_once(tiny_build, tmp_path, capsys):
    """Asked for later than the training: from its epochs. Asked for again: nothing more."""

    runs = shutil.copytree(tiny_build.runs, tmp_path / "runs")
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(runs)
    for _ in range(2):
        build.main([*argv, "--log", "tensorboard"])
        for member in runs.glob("members/*"):
            lines = [json.loads(x) for x in (member / "epochs.jsonl").read_text().splitlines()]
            check(runs / "logs" / member.name, lines)


def test_a_build_writes_the_curves_of_what_it_trains(tiny_build, people, tmp_path, capsys):
    argv = list(tiny_build.argv)
    argv[argv.index("--out") + 1] = str(tmp_path / "runs")
    build.main([*argv, "--members", "a", "--set", "recipe.epochs=2", "--log", "tensorboard"])
    (member,) = (tmp_path / "runs" / "members").iterdir()
    lines = [json.loads(x) for x in (member / "epochs.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    check(tmp_path / "runs" / "logs" / member.name, lines)
